"""Where a result came from: the code's commit, the versions, the machine."""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mgnet_train.errors import UserError

_GIT_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Commit:
    """The git commit of this code (40 hex digits), None outside a repository; `dirty` when files differ from it."""

    sha: str | None
    dirty: bool


def current_commit() -> Commit:
    """The commit of the working tree that this file is part of. Raises UserError when git does not answer."""
    here = Path(__file__).resolve()
    try:
        if _git(here.parent, "ls-files", "--error-unmatch", here.name) is None:
            return Commit(sha=None, dirty=False)
        sha, changes = _git(here.parent, "rev-parse", "HEAD"), _git(here.parent, "status", "--porcelain")
    except OSError:  # git is not installed
        return Commit(sha=None, dirty=False)
    return Commit(sha=sha, dirty=bool(changes))


def environment(device: Any) -> dict[str, Any]:
    """Versions and hardware, as result.json holds them."""
    import timm
    import torch

    on_cuda = device.type == "cuda"
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "timm": timm.__version__,
        "cuda": torch.version.cuda if on_cuda else None,
        "device": torch.cuda.get_device_name(device) if on_cuda else "cpu",
        "cpu": _cpu_name(),
        "os": f"{platform.system()} {platform.release()}",
        "threads": torch.get_num_threads(),
    }


def _git(folder: Path, *arguments: str) -> str | None:
    call = ["git", *arguments]
    try:
        done = subprocess.run(call, cwd=folder, capture_output=True, text=True, check=False, timeout=_GIT_SECONDS)
    except subprocess.TimeoutExpired:
        raise UserError(
            f"{' '.join(call)} in {folder} took more than {_GIT_SECONDS:g} s: make that disk answer, or install the package"
        ) from None
    return done.stdout.strip() if done.returncode == 0 else None


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()} ({os.cpu_count()} cores)"
