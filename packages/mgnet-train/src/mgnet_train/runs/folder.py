"""The folder of one run: its config, its state, the names of its files, and reading files that may be damaged."""

from __future__ import annotations

import errno
import json
import os
import socket
import stat
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from mgnet_records.canonical import sha256_of
from mgnet_records.errors import InputError
from mgnet_records.fields import Commit, RunId, Sha256
from mgnet_records.files import write_json
from mgnet_records.run_result import Environment, Execution

CONFIG, STATE = "config.json", "state.json"
LAST, PREVIOUS = "last.ckpt", "previous.ckpt"
WEIGHTS, CERTIFICATE, CONFUSION = "model.safetensors", "certificate.json", "confusion.json"
# config.json has some 3 kB; what is far larger is something else.
_LARGEST_CONFIG = 1 << 20


class _Data(BaseModel):
    model_config = ConfigDict(strict=True)

    name: str
    sha256: Sha256
    contents_sha256: Sha256 | None
    train_images: int
    test_images: int


class _Recipe(BaseModel):
    model_config = ConfigDict(strict=True)

    name: str
    epochs: int


class _Config(BaseModel):
    """What readers of config.json rely on."""

    model_config = ConfigDict(strict=True)

    schema_version: Literal[3]
    run_id: RunId
    identity: Sha256
    model: str
    model_args: dict[str, JsonValue]
    notation: str | None
    parameters: int
    dataset: str
    data: _Data
    recipe: _Recipe
    recipe_sha256: Sha256
    seed: int
    commit: Commit | None
    dirty: bool | None
    execution: Execution
    environment: Environment
    started: str
    started_ms: int


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


def read_plain(path: Path, *, limit: int | None = None) -> bytes:
    """The content of a plain file. Raises FileNotFoundError when nothing is there and OSError for everything else.

    Never waits: a link, a pipe or a device in the place of a file is not read, nor is what has more than `limit` bytes.
    """
    with open(open_plain(path), "rb") as file:
        content = file.read(-1 if limit is None else limit + 1)
    if limit is not None and len(content) > limit:
        raise OSError(errno.EFBIG, f"it has more than {limit} bytes")
    return content


def require_plain(paths: Iterable[Path]) -> None:
    """Raise InputError for a file that is something else or cannot be read; one that is not there is fine."""
    for path in paths:
        try:
            os.close(open_plain(path))
        except FileNotFoundError:
            continue
        except OSError as error:
            raise InputError(
                f"{path} cannot be used ({error.strerror}): make it yours or move it away, and the same command goes on"
            ) from None


def open_plain(path: Path) -> int:
    """The descriptor of a plain file to be read. Raises OSError, with a reason, for a link, a folder, a pipe and a device."""
    mode = os.lstat(path).st_mode
    if not stat.S_ISREG(mode):
        names = {stat.S_IFDIR: "a folder", stat.S_IFLNK: "a link", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
        raise OSError(errno.EINVAL, f"it is {names.get(stat.S_IFMT(mode), 'a device')}")
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # not even a pipe that came in between is waited for


def put_aside(path: Path) -> Path:
    """Rename a damaged file, so that nothing of it is lost; `config.corrupt` for `config.json`. The new name."""
    target = path.with_name(f"{path.name.split('.')[0]}.corrupt")
    number = 1
    while os.path.lexists(target):
        number += 1
        target = path.with_name(f"{path.name.split('.')[0]}.corrupt{number}")
    os.replace(path, target)
    return target


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
        value = json.loads(read_plain(path))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def write_config(folder: Path, config: dict[str, Any]) -> dict[str, Any]:
    """Write config.json and what it is known by, its SHA-256; the config with that."""
    config = {**config, "sha256": sha256_of({key: value for key, value in config.items() if key != "sha256"})}
    write_json(folder / CONFIG, config, durable=True)
    return config


def read_config(folder: Path) -> dict[str, Any]:
    """The config.json of a run folder. Raises InputError when it is missing, corrupt or was edited."""
    path = folder / CONFIG
    try:
        content = read_plain(path, limit=_LARGEST_CONFIG)
        config = json.loads(content)
        if not isinstance(config, dict):
            raise ValueError("no JSON object")
        found = config.get("sha256")
        if found != sha256_of({key: value for key, value in config.items() if key != "sha256"}):
            raise ValueError("it was changed, its SHA-256 does not match")
        _Config.model_validate_json(content)
    except FileNotFoundError:
        raise InputError(f"{path} is missing: restore it, or delete the folder to train again") from None
    except ValidationError:
        raise InputError(f"{path} is of another version of mgnet-train: use that one, or delete the folder") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): restore it, or delete the folder to train again") from None
    except (ValueError, RecursionError) as error:
        why = str(error) if "SHA-256" in str(error) else "it is no config of a run"
        raise InputError(f"{path} is corrupt ({why}): restore it, or delete the folder to train again") from None
    return config


def utc_now() -> str:
    """The time in ISO-8601, UTC, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
