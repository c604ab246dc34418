"""A folder that is replaced as a whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mgnet_records.errors import InputError

# Lies in every folder that `build` wrote, so that `build` never replaces a folder of somebody else.
MARKER = ".mgnet-leaderboard-site"


@contextmanager
def replaced_folder(out: Path) -> Iterator[Path]:
    """A temporary folder beside `out` that takes its place when the block ends well, and vanishes when it does not."""
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise InputError(f"{out}: is not a folder; choose another --out")
    if out.is_dir() and any(out.iterdir()) and not (out / MARKER).is_file():
        raise InputError(f"{out}: holds files that this command did not write; choose an empty folder for --out")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}.new-"))
    except OSError as error:
        raise InputError(f"{out}: cannot be written: {error.strerror}; choose another --out") from None
    try:
        yield fresh
        (fresh / MARKER).write_text("Written by mgnet-leaderboard build; replaced as a whole.\n", encoding="utf-8")
        fresh.chmod(0o755)
        _swap(fresh, out)
    except OSError as error:
        raise InputError(f"{out}: cannot be written: {error.strerror}") from None
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _swap(fresh: Path, out: Path) -> None:
    """Put `fresh` in the place of `out`; the old folder comes back if that fails."""
    old = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}.old-"))
    if out.exists():
        os.replace(out, old / "site")
    try:
        os.replace(fresh, out)
    except OSError:
        if (old / "site").exists():
            os.replace(old / "site", out)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)
