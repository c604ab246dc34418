"""Whether a folder of data sets makes this repository dirty: then results of the run could not be submitted."""

from __future__ import annotations

import subprocess
from pathlib import Path

from mgnet_train.errors import note

_SECONDS = 20.0


def note_untracked(data_dir: Path) -> None:
    """Note it when the folder lies in the repository of this code and git sees it, neither tracked nor ignored."""
    folder = data_dir.absolute()  # a link there is seen by git as well, wherever it leads
    top = _git(folder.parent, "rev-parse", "--show-toplevel")
    if not top or not Path(__file__).resolve().is_relative_to(Path(top).resolve()):
        return
    seen = _git(folder.parent, "status", "--porcelain", "--untracked-files=normal", "--", folder.name)
    if seen.startswith("??"):
        note(
            f"{data_dir} is in this repository and not ignored, so the run counts as made with changes (dirty): "
            f"echo '*' > {data_dir / '.gitignore'}, or list it in .git/info/exclude"
        )


def _git(folder: Path, *arguments: str) -> str:
    """What git prints; empty when it cannot say."""
    call = ["git", "--no-optional-locks", *arguments]
    try:
        done = subprocess.run(call, cwd=folder, capture_output=True, text=True, errors="replace", check=False, timeout=_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.rstrip("\n") if done.returncode == 0 else ""
