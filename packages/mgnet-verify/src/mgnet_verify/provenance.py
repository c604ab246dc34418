"""Which code a report speaks of: the commit of the checkout that the package runs from, and the versions of its libraries."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

LIBRARIES = ("mgnet-models", "mgnet-verify", "torch", "timm", "numpy", "hypothesis", "fvcore")


def commit() -> tuple[str | None, bool | None]:
    """(commit, whether tracked files differ from it); (None, None) outside a git checkout, as after a plain install."""
    here = Path(__file__).parent
    if _git(here, "ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None, None
    head = _git(here, "rev-parse", "HEAD")
    changes = _git(here, "status", "--porcelain", "--untracked-files=no")
    return head, None if changes is None else bool(changes)


def versions() -> dict[str, str]:
    """Python and the libraries whose behaviour a report depends on."""
    return {"python": platform.python_version()} | {library: version(library) for library in LIBRARIES}


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        run = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return run.stdout.strip() if run.returncode == 0 else None
