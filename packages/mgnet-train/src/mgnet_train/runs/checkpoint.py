"""Checkpoints that survive a kill at any moment, a full disk and a damaged file.

A file is a mark, the SHA-256 of the rest, and the state as torch saves it; it is read with `weights_only`, so nothing in
it is executed. The new file is complete on the disk before the last one becomes the previous one.
"""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path
from typing import Any

import torch

from mgnet_train.atomic import sync_folder
from mgnet_train.errors import UserError

State = dict[str, Any]

_MARK = b"MGNETCK1"
_LAST, _PREVIOUS = "last.ckpt", "previous.ckpt"


class DamagedCheckpointError(Exception):
    """Why a file cannot be used, in one line."""


class Checkpoints:
    """The last and the previous checkpoint of one run; `identity` is the run's, and a file of another run is refused."""

    def __init__(self, folder: Path, identity: str) -> None:
        self._folder, self._identity = folder, identity
        self.complaints: list[str] = []

    def save(self, state: State) -> None:
        """Make `state` the last checkpoint. OSError leaves the files as they were."""
        temporary = self._folder / f".{_LAST}.tmp"
        try:
            with open(temporary, "wb") as file:
                file.write(_encode({**state, "identity": self._identity}))
                file.flush()
                _stage("written")
                os.fsync(file.fileno())
            last = self._folder / _LAST
            if last.exists():
                os.replace(last, self._folder / _PREVIOUS)
            _stage("moved")
            os.replace(temporary, last)
            sync_folder(self._folder)
        finally:
            temporary.unlink(missing_ok=True)

    def load(self) -> State | None:
        """The newest usable state, None when there is no checkpoint; unusable files are told in `complaints`.

        Raises UserError when there are files but none is usable: a run is never silently started again.
        """
        for name in (_LAST, _PREVIOUS):
            path = self._folder / name
            if not path.exists():
                continue
            try:
                state = _decode(path, self._identity)
            except DamagedCheckpointError as damage:
                self.complaints.append(f"checkpoint {path} {damage}")
                continue
            if self.complaints:  # else the next save would put the damaged file in the place of the good one
                os.replace(self._folder / _LAST, self._folder / "last.damaged")
            return state
        if self.complaints:
            raise UserError("; ".join(self.complaints) + f": delete the folder {self._folder} to train anew")
        return None


def _encode(state: State) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    payload = buffer.getvalue()
    return _MARK + hashlib.sha256(payload).digest() + payload


def _decode(path: Path, identity: str) -> State:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DamagedCheckpointError(f"cannot be read ({error.strerror})") from None
    mark, digest, payload = content[:8], content[8:40], content[40:]
    if mark != _MARK:
        raise DamagedCheckpointError("is no checkpoint of mgnet-train")
    if hashlib.sha256(payload).digest() != digest:
        raise DamagedCheckpointError("is truncated or damaged (its SHA-256 does not fit)")
    state: State = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    if state["identity"] != identity:
        raise DamagedCheckpointError("belongs to another run")
    return state


def _stage(name: str) -> None:
    """A point inside a save at which the fault tests kill the process; they replace this function."""
