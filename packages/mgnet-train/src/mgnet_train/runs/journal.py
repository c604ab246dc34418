"""The journal: every metric of a run, one JSON line for each entry, in the run folder. Every other copy is made from it.

Writing a line takes microseconds and never fails the training: when the disk is full, lines wait in memory and are tried
again with the next one. A resumed run computes some steps again; what is already written is compared, not repeated.

The file only grows. A line is complete when its newline is there, so a reader in another process (the uploader) needs no lock:
it reads complete lines from a byte offset on, and keeps the offset behind them as what it has done.
"""

from __future__ import annotations

import json
import os
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mgnet_records.errors import InputError

JOURNAL = "journal.jsonl"
# Prefixes of metrics of the machine. All others are results, which must come out the same when they are computed again.
MACHINE_METRICS = ("perf/", "system/")
IS_EXACT = "resume/is_exact"


@dataclass(frozen=True, kw_only=True)
class Record:
    """One line: `kind` is step, epoch or end; `step` counts within the kind; `time` in milliseconds since 1970."""

    kind: str
    step: int
    time: int
    metrics: dict[str, float]
    status: str | None = None


class Journal:
    """The journal of one run, open for writing by the one process that holds the run's lock.

    Raises InputError when a line in the middle of the file cannot be read: what follows it would be lost.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / JOURNAL
        self._waiting: deque[bytes] = deque()
        self._written: dict[tuple[str, int], dict[str, float]] = {}
        self.replay_mismatches = 0
        # 1. Read all complete lines: what is written already must not be written again.
        records, self._length = read_records(self._path, 0)
        for record in records:
            self._written[record.kind, record.step] = record.metrics
        # 2. Cut off a torn last line, which a kill or a full disk left, so that the next line begins after a newline.
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o644)
        os.ftruncate(self._file, self._length)

    def log(self, kind: str, step: int, metrics: dict[str, float]) -> None:
        """Write the metrics of a step or an epoch, once. Those computed again after a resume are compared with the first ones."""
        before = self._written.get((kind, step))
        if before is not None:
            self.replay_mismatches += _reproducible(before) != _reproducible(metrics)
            return
        self._written[kind, step] = metrics
        self._append({"kind": kind, "step": step, "time": _now(), "metrics": metrics})

    def end(self, status: str, *, is_exact: bool) -> None:
        """Write how this start ended, in MLflow's words: FINISHED, KILLED or FAILED.

        `is_exact` is whether what was computed again after a resume came out the same, in the same environment.
        """
        metrics = {IS_EXACT: float(is_exact)}
        self._append({"kind": "end", "step": 0, "time": _now(), "metrics": metrics, "status": status})

    def sync(self) -> None:
        """Wait until the disk has the journal, so that it is never behind a checkpoint."""
        os.fsync(self._file)

    def close(self) -> None:
        """Try once more to write what waits, and close the file."""
        self._flush()
        os.close(self._file)

    def _append(self, line: dict[str, Any]) -> None:
        self._waiting.append((json.dumps(line, separators=(",", ":")) + "\n").encode())
        self._flush()

    def _flush(self) -> None:
        # A line is done when all of it is written. Until then its offset stays, so that the next try overwrites a part
        # that a full disk took, and no later line can come before it.
        while self._waiting:
            line = self._waiting[0]
            try:
                complete = os.pwrite(self._file, line, self._length) == len(line)
            except OSError:
                complete = False
            if not complete:
                return
            self._length += len(line)
            self._waiting.popleft()


def read_records(path: Path, offset: int) -> tuple[list[Record], int]:
    """The complete records from a byte offset on, and the offset behind the last of them. A torn last line is left out.

    Raises InputError for a complete line that is no record, and for an offset beyond the end of the file.
    """
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            if offset > size:
                raise InputError(f"{path} has {size} bytes, {offset} were read before: restore it, or delete {path.parent}")
            file.seek(offset)
            content = file.read()
    except FileNotFoundError:
        return [], 0
    records = []
    for line in content.splitlines(keepends=True):  # JSON escapes every other line end
        if not line.endswith(b"\n"):
            break
        try:
            records.append(Record(**json.loads(line)))
        except (ValueError, TypeError):
            raise InputError(f"{path} is corrupt at byte {offset}: restore it, or delete {path.parent} to train again") from None
        offset += len(line)
    return records, offset


def _reproducible(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if not name.startswith(MACHINE_METRICS)}


def _now() -> int:
    return time.time_ns() // 1_000_000
