"""The journal: every metric of a run, one JSON line each, in the run folder. It is the truth; the tracker gets a copy.

Writing a line costs microseconds and never fails the training: when the disk is full, lines wait in memory and are tried
again with the next one. A resumed run computes some steps again; what is already written is compared, not repeated.
"""

from __future__ import annotations

import json
import os
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

JOURNAL = "journal.jsonl"
CIRCUMSTANCES = ("perf/", "system/")  # metrics of the machine; all others are results and must come again
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
    """The journal of one run, open for writing by the one process that holds the run's lock."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / JOURNAL
        self._waiting: deque[bytes] = deque()
        self._written: dict[tuple[str, int], dict[str, float]] = {}
        self.replay_mismatches = 0
        records, self._length = read_records(self._path, 0)
        for record in records:
            self._written[record.kind, record.step] = record.metrics
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o644)
        os.ftruncate(self._file, self._length)

    def log(self, kind: str, step: int, metrics: dict[str, float]) -> None:
        """Write the metrics of a step or an epoch, once."""
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
    """The complete records from a byte offset on, and the offset behind the last of them. A torn last line is left out."""
    try:
        with open(path, "rb") as file:
            file.seek(offset)
            content = file.read()
    except FileNotFoundError:
        return [], 0
    records = []
    for line in content.splitlines(keepends=True):
        if not line.endswith(b"\n"):
            break
        try:
            records.append(Record(**json.loads(line)))
        except (ValueError, TypeError):
            break
        offset += len(line)
    return records, offset


def _reproducible(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if not name.startswith(CIRCUMSTANCES)}


def _now() -> int:
    return time.time_ns() // 1_000_000
