"""Compiles a C file of this package with the machine's own compiler, for its own processor, and loads it.

The result is kept in the user's cache folder, under a name that changes with the source, the compiler and the processor.
Nothing happens before the first call.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

_OPTIONS = ("-std=gnu11", "-O3", "-march=native", "-fopenmp", "-fPIC")
_LONGEST_SECONDS = 120


def load_c(source: Path) -> ctypes.CDLL:
    """The library made of one C file.

    Raises OSError, with one line that says why, where there is no compiler or it fails: $CC or cc must know GNU C and OpenMP.
    """
    compiler = shlex.split(os.environ.get("CC", "")) or ["cc"]
    if shutil.which(compiler[0]) is None:
        raise OSError(f"there is no C compiler {compiler[0]!r}: install one, or name it in the environment variable CC")
    # The macros that the compiler predefines name its version and all that it knows of the processor.
    macros = _run([*compiler, *_OPTIONS, "-dM", "-E", "-x", "c", os.devnull])
    key = hashlib.sha256(b"\0".join([source.read_bytes(), macros, *map(str.encode, _OPTIONS)])).hexdigest()[:24]
    name = f"{source.stem}-{key}.so"
    try:
        folder = _cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
        kept = folder / name
        if not kept.exists():
            _compile(compiler, source, kept)
        return ctypes.CDLL(str(kept))
    except (PermissionError, FileExistsError, NotADirectoryError):
        with tempfile.TemporaryDirectory() as other:
            passing = Path(other) / name
            _compile(compiler, source, passing)
            return ctypes.CDLL(str(passing))


def _cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mgnet-lab"


def _compile(compiler: list[str], source: Path, target: Path) -> None:
    """To a name of its own, then renamed: other processes may be doing the same."""
    handle, unfinished = tempfile.mkstemp(dir=target.parent, prefix=target.stem, suffix=".so")
    os.close(handle)
    try:
        _run([*compiler, *_OPTIONS, "-shared", str(source), "-o", unfinished])
        os.replace(unfinished, target)
    finally:
        Path(unfinished).unlink(missing_ok=True)


def _run(command: list[str]) -> bytes:
    try:
        return subprocess.run(command, check=True, capture_output=True, timeout=_LONGEST_SECONDS).stdout
    except subprocess.CalledProcessError as failure:
        said = failure.stderr.decode(errors="replace").strip().splitlines()
        raise OSError(f"the C compiler failed: {said[0] if said else failure}") from None
    except subprocess.TimeoutExpired:
        raise OSError(f"the C compiler took more than {_LONGEST_SECONDS} s") from None
