"""The folder of one run: its settings, its state, and the question whether it is finished."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path
from typing import Any

from mgnet_train.atomic import write_json
from mgnet_train.errors import UserError

CONFIG, STATE = "config.json", "state.json"


def writable_folder(folder: Path) -> Path:
    """The folder, made if need be. Raises UserError when nothing can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe.{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(f"folder {str(folder)!r} cannot be written ({error.strerror}): give another with --runs") from None
    return folder


def write_state(folder: Path, status: str, *, exit_code: int | None = None, message: str = "", epoch: int = 0) -> None:
    """Tell what the run is doing: running, stopped, finished, diverged or failed. A full disk must not end a training."""
    state = {
        "status": status,
        "exit_code": exit_code,
        "message": message,
        "epoch": epoch,
        "process": os.getpid(),
        "host": socket.gethostname(),
        "updated": utc_now(),
    }
    try:
        write_json(folder / STATE, state)
    except OSError:
        return


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; empty when the file is missing or damaged."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def utc_now() -> str:
    """The time in ISO-8601, UTC, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
