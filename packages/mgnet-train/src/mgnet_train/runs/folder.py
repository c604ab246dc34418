"""The folder of one run: its config, its state, and the names of its files."""

from __future__ import annotations

import json
import os
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mgnet_records.errors import InputError
from mgnet_records.files import write_json
from mgnet_records.run_result import Environment, Execution

CONFIG, STATE = "config.json", "state.json"
WEIGHTS, CERTIFICATE, CONFUSION = "model.safetensors", "certificate.json", "confusion.json"


def writable_folder(folder: Path) -> Path:
    """The folder, created if need be. Raises InputError when nothing can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe.{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(f"folder {str(folder)!r} cannot be written ({error.strerror}): give another with --runs") from None
    return folder


def write_state(folder: Path, status: str, *, exit_code: int | None = None, message: str = "", epoch: int = 0) -> None:
    """Write what the run is doing: running, stopped, finished, diverged or failed. A full disk must not end a training."""
    state = {
        "status": status,
        "exit_code": exit_code,
        "message": message,
        "epoch": epoch,
        "process": os.getpid(),
        "host": socket.gethostname(),
        "updated": utc_now(),
    }
    with suppress(InputError):
        write_json(folder / STATE, state)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; empty when the file is missing or corrupt."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def read_config(folder: Path) -> dict[str, Any]:
    """The config.json of a run folder. Raises InputError when it is missing or corrupt."""
    config = read_json(folder / CONFIG)
    try:
        Execution.model_validate(config["execution"])
        Environment.model_validate(config["environment"])
        is_whole = {"run_id", "notation", "parameters", "data", "started", "started_ms"} <= config.keys()
    except (KeyError, ValidationError):
        is_whole = False
    if not is_whole:
        raise InputError(f"{folder / CONFIG} is missing or corrupt: restore it, or delete the folder to train again")
    return config


def utc_now() -> str:
    """The time in ISO-8601, UTC, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
