"""Checkpoints that survive a kill at any moment, a full disk and a corrupt file.

A file is a magic number, the SHA-256 of the rest, and the state as torch saves it. It is read with `weights_only`, so nothing
in it is executed. The new file is complete on the disk before the last one becomes the previous one.
"""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path
from typing import Any

import torch

from mgnet_records.errors import InputError
from mgnet_records.files import sync_folder
from mgnet_train.runs.folder import LAST, PREVIOUS, put_aside, read_plain

State = dict[str, Any]

_MAGIC = b"MGNETCK3"


class CorruptCheckpointError(Exception):
    """Why a file cannot be used, in one line."""


class Checkpoints:
    """The last and the previous checkpoint of one run; `identity` is the run's, and a file of another run is rejected."""

    def __init__(self, folder: Path, identity: str) -> None:
        self._folder, self._identity = folder, identity
        self.complaints: list[str] = []

    def save(self, state: State) -> None:
        """Make `state` the last checkpoint. OSError leaves the files as they were."""
        last, previous, temporary = self._folder / LAST, self._folder / PREVIOUS, self._folder / f".{LAST}.tmp"
        try:
            # 1. The whole state, in a file of its own, on the disk. A kill up to here leaves both checkpoints as they are.
            with open(temporary, "wb") as file:
                file.write(_encode({**state, "identity": self._identity}))
                file.flush()
                os.fsync(file.fileno())
            # 2. The last one becomes the previous one. A kill between 2 and 3 leaves the previous one alone, which is good.
            if last.exists():
                os.replace(last, previous)
            # 3. The new one becomes the last one.
            os.replace(temporary, last)
            # 4. Both renames are on the disk; before that, a power cut may undo 3 or both, never 2 alone without the file of 1.
            sync_folder(self._folder)
        finally:
            temporary.unlink(missing_ok=True)

    def load(self) -> State | None:
        """The newest usable state, None when there is no checkpoint; unusable files are reported in `complaints`.

        Raises InputError when there are files but none is usable: a run never silently starts from the beginning.
        """
        for name in (LAST, PREVIOUS):
            path = self._folder / name
            if not os.path.lexists(path):
                continue
            try:
                state = _decode(path, self._identity)
            except CorruptCheckpointError as reason:
                self.complaints.append(f"checkpoint {path} {reason}")
                continue
            if self.complaints:
                # The next save would make the corrupt last file the previous one, in place of this good one.
                put_aside(self._folder / LAST)
            return state
        if self.complaints:
            raise InputError("; ".join(self.complaints) + f": delete the folder {self._folder} to train again from the beginning")
        return None


def _encode(state: State) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    payload = buffer.getvalue()
    return _MAGIC + hashlib.sha256(payload).digest() + payload


def _decode(path: Path, identity: str) -> State:
    try:
        content = read_plain(path)
    except OSError as error:
        raise CorruptCheckpointError(f"cannot be read ({error.strerror})") from None
    magic, digest, payload = content[:8], content[8:40], content[40:]
    if magic != _MAGIC:
        raise CorruptCheckpointError("is no checkpoint of this version of mgnet-train")
    if hashlib.sha256(payload).digest() != digest:
        raise CorruptCheckpointError("is truncated or corrupt (its SHA-256 does not match)")
    try:
        state: State = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
        found = state["identity"]
    except Exception as error:  # torch's, of many kinds; the digest is right, so another program wrote the file
        raise CorruptCheckpointError(f"holds no state of a training ({type(error).__name__})") from None
    if found != identity:
        raise CorruptCheckpointError("belongs to another run")
    return state
