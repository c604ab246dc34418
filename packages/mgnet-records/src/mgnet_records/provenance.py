"""Where a result came from: the state of the code in git, the versions of the libraries, the CPU."""

from __future__ import annotations

import os
import platform
import re
import shlex
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from mgnet_records.errors import InputError

# A git hook exports these; with them git would answer for the repository of the hook, not of the anchor.
_OF_ANOTHER_REPOSITORY = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX")


@dataclass(frozen=True, kw_only=True)
class CodeState:
    """The commit that the code runs from (40 hexadecimal digits), and whether the working tree differs from it.

    `dirty`: a tracked file differs from the commit, or a file that is not ignored is untracked, since an untracked
    module can change a result. Both are None together when git does not know the code: unknown is not clean.
    """

    sha: str | None
    dirty: bool | None


UNKNOWN = CodeState(sha=None, dirty=None)


def code_state(anchor: Path, *, deadline: float = 60.0) -> CodeState:
    """The state of the repository that tracks the file `anchor`, such as the caller's `__file__`.

    UNKNOWN without git, outside a repository, before its first commit, and for a file that the repository does not track.
    Raises InputError when git takes more than `deadline` seconds, and when it refuses a repository of another user.
    """
    anchor = anchor.resolve()
    folder = anchor.parent
    # An installed package may lie inside somebody else's repository, as in its ignored .venv: that commit is not ours.
    if _git(folder, deadline, "ls-files", "--error-unmatch", "--", anchor.name) is None:
        return UNKNOWN
    sha = _git(folder, deadline, "rev-parse", "--verify", "HEAD")
    # All options are spelled out: a user's status.showUntrackedFiles must not change the meaning of dirty.
    changes = _git(folder, deadline, "status", "--porcelain", "--untracked-files=normal", "--ignore-submodules=none")
    if sha is None or changes is None:
        return UNKNOWN
    return CodeState(sha=sha, dirty=bool(changes))


def versions(distributions: Iterable[str]) -> dict[str, str | None]:
    """The version of Python and of each distribution; None for one that is not installed."""
    return {"python": platform.python_version()} | {name: _version(name) for name in distributions}


def cpu_name() -> str:
    """The CPU's model and the number of its logical cores."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()} ({os.cpu_count()} cores)"


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _git(folder: Path, deadline: float, *arguments: str) -> str | None:
    """What git prints, without outer white space; None when it fails or is not installed."""
    call = ["git", "--no-optional-locks", *arguments]  # `status` would else write the index, also on a read-only disk
    environment = {name: value for name, value in os.environ.items() if name not in _OF_ANOTHER_REPOSITORY} | {"LC_ALL": "C"}
    try:
        done = subprocess.run(
            call, cwd=folder, env=environment, capture_output=True, text=True, errors="replace", check=False, timeout=deadline
        )
    except subprocess.TimeoutExpired:
        raise InputError(
            f"git {arguments[0]} in {folder} took more than {deadline:g} s: make that disk answer, or install the package"
        ) from None
    except OSError:  # git is not installed
        return None
    if "dubious ownership" in done.stderr or "unsafe repository" in done.stderr:
        quoted = re.search(r"repository (?:at )?\(?'([^']+)'", done.stderr)
        top = quoted[1] if quoted else str(folder)
        raise InputError(
            f"git refuses {top}, which belongs to another user, so the commit is unknown: "
            f"run git config --global --add safe.directory {shlex.quote(top)}"
        )
    return done.stdout.strip() if done.returncode == 0 else None
