"""The journal: every metric of a run, one JSON line for each entry, in the run folder. Every other copy is made from it.

Writing a line takes microseconds and never fails the training: when the disk is full, lines wait in memory and are tried
again with the next one. A resumed run computes some steps again; what is already written is compared, not repeated.

The file only grows. A line is complete when its newline is there, so a reader in another process (the uploader) needs no lock:
it reads complete lines from a byte offset on, and keeps the offset behind them as what it has done.

Each line ends with a digest of itself and of the line before, the first one with the run id. So a bit that flipped, a line
that is gone and the journal of another run are all noticed, from any offset on.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mgnet_records.errors import InputError
from mgnet_records.files import write_bytes
from mgnet_train.runs.folder import CONFIG, open_plain, put_aside, read_config, read_plain

JOURNAL = "journal.jsonl"
# Prefixes of metrics of the machine. All others are results, which must come out the same when they are computed again.
MACHINE_METRICS = ("perf/", "system/")
IS_EXACT = "resume/is_exact"
# A line without its closing brace, then `,"digest":"0123456789abcdef"}` and the newline.
_DIGITS = 16
_BEFORE_DIGEST = b',"digest":"'
_TAIL = len(_BEFORE_DIGEST) + _DIGITS + len(b'"}\n')


@dataclass(frozen=True, kw_only=True)
class Record:
    """One line: `kind` is step, epoch or end; `step` counts within the kind; `time` in milliseconds since 1970.

    The end of a finished run has its status FINISHED and the SHA-256 of the `files` that the run ended with.
    """

    kind: str
    step: int
    time: int
    metrics: dict[str, float]
    status: str | None = None
    files: dict[str, str] | None = None


class DamagedError(InputError):
    """A line that is no line of this journal; `records` are those before it, `offset` is where it begins."""

    def __init__(self, path: Path, records: list[Record], offset: int) -> None:
        self.records, self.offset = records, offset
        super().__init__(
            f"{path} is corrupt at byte {offset}: restore it, or start the run again with the command that trained it, which "
            "mends it from the last checkpoint"
        )


def milliseconds() -> int:
    """The time since 1970."""
    return time.time_ns() // 1_000_000


class Journal:
    """The journal of one run, open for writing by the one process that holds the run's lock.

    `run_id` is that of config.json when None. `saved` is what the last checkpoint has of the journal. Where the file does not
    begin with that or has a damaged line, the damaged file is put aside and the journal mended: from the checkpoint, and up to
    the damage from the file. `mended` then says so in one line.
    """

    def __init__(
        self, folder: Path, run_id: str | None = None, *, saved: bytes = b"", clock: Callable[[], int] = milliseconds
    ) -> None:
        self._path, self._clock = folder / JOURNAL, clock
        self._waiting: deque[bytes] = deque()
        self._written: dict[tuple[str, int], dict[str, float]] = {}
        self.replay_mismatches = 0
        self.mended: str | None = None
        # 1. Read all complete lines: what is written already must not be written again.
        seed = _seed(folder) if run_id is None else run_id
        self.records, content, is_damaged = _readable(self._path, seed)
        # 2. A torn last line, which a kill or a full disk left, is cut off. Anything else that is amiss was damaged later.
        if is_damaged or not content.startswith(saved):
            if not content.startswith(saved):
                self.records, content = _parsed(self._path, saved, seed, 0)[0], saved
            kept = f", the damaged one is kept as {put_aside(self._path).name}" if os.path.lexists(self._path) else ""
            self.mended = f"{self._path} was damaged: mended up to byte {len(content)}, what follows is computed again{kept}"
            write_bytes(self._path, content, durable=True)
        for record in self.records:
            self._written[record.kind, record.step] = record.metrics
        self._length, self._digest = len(content), _last_digest(content, seed)
        try:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
            os.ftruncate(self._file, self._length)
        except OSError as error:
            raise InputError(f"{self._path} cannot be written ({error.strerror}): make room, or make it yours") from None

    def log(self, kind: str, step: int, metrics: dict[str, float]) -> None:
        """Write the metrics of a step or an epoch, once. Those computed again after a resume are compared with the first ones."""
        before = self._written.get((kind, step))
        if before is not None:
            self.replay_mismatches += _reproducible(before) != _reproducible(metrics)
            return
        self._written[kind, step] = metrics
        self._append({"kind": kind, "step": step, "time": self._clock(), "metrics": metrics})

    def end(self, status: str, *, is_exact: bool | None, files: dict[str, str] | None = None) -> None:
        """Write how this start ended, in MLflow's words: FINISHED, KILLED or FAILED; `files` are those of a finished run.

        `is_exact` is whether what was computed again after a resume came out the same, in the same environment; None when that
        is not known.
        """
        metrics = {} if is_exact is None else {IS_EXACT: float(is_exact)}
        line = {"kind": "end", "step": 0, "time": self._clock(), "metrics": metrics, "status": status}
        self._append(line if files is None else {**line, "files": files})

    def sync(self) -> None:
        """Wait until the disk has the journal, so that it is never behind a checkpoint. Raises OSError when lines still wait."""
        self._flush()
        if self._waiting:
            raise OSError(errno.ENOSPC, f"{len(self._waiting)} lines of the journal could not be written")
        os.fsync(self._file)

    def content(self) -> bytes:
        """All that is written, for a checkpoint to keep."""
        return os.pread(self._file, self._length, 0)

    def close(self) -> int:
        """Try once more to write what waits, and close the file. How many lines could not be written."""
        self._flush()
        os.close(self._file)
        return len(self._waiting)

    def _append(self, line: dict[str, Any]) -> None:
        body = json.dumps(line, separators=(",", ":")).encode()[:-1]
        self._digest = _digest(self._digest, body)
        self._waiting.append(body + _BEFORE_DIGEST + self._digest.encode() + b'"}\n')
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

    Raises InputError for a damaged line, an offset at which no line begins, and a file that cannot be read.
    """
    try:
        before, content = _split(path, offset)
    except FileNotFoundError:
        before = content = b""
    except OSError as error:
        raise _unreadable(path, error) from None
    digest = _seed(path.parent) if offset == 0 else digest_before(before, len(before))
    if digest is None:
        raise InputError(
            f"{path} has no line that ends at byte {offset}, up to which it was read before: restore it, or start the run again "
            "with the command that trained it"
        )
    return _parsed(path, content, digest, offset)


def digest_at(path: Path, offset: int) -> str | None:
    """The digest of the line that ends at a byte offset of a journal; None where none ends. Raises OSError."""
    before, _ = _split(path, offset, read_on=False)
    return digest_before(before, len(before))


def _split(path: Path, offset: int, *, read_on: bool = True) -> tuple[bytes, bytes]:
    """The end of the line before a byte offset, and what follows; both empty when the file is not that long. Raises OSError."""
    with open(open_plain(path), "rb") as file:
        if not 0 <= offset <= file.seek(0, os.SEEK_END):
            return b"", b""
        before = offset - file.seek(max(0, offset - _TAIL))
        return file.read(before), file.read() if read_on else b""


def digest_before(content: bytes, offset: int) -> str | None:
    """The digest of the line that ends at a byte offset; None where none ends."""
    tail = content[max(0, offset - _TAIL) : offset]
    if not tail.startswith(_BEFORE_DIGEST) or not tail.endswith(b'"}\n'):
        return None
    return tail[len(_BEFORE_DIGEST) :][:_DIGITS].decode(errors="replace")


def _readable(path: Path, seed: str) -> tuple[list[Record], bytes, bool]:
    """The records up to the first damage, the bytes that hold them, and whether there is damage."""
    try:
        content = read_plain(path)
    except FileNotFoundError:
        content = b""
    except OSError as error:
        raise _unreadable(path, error) from None
    try:
        records, length = _parsed(path, content, seed, 0)
    except DamagedError as damage:
        return damage.records, content[: damage.offset], True
    return records, content[:length], False


def _parsed(path: Path, content: bytes, digest: str, offset: int) -> tuple[list[Record], int]:
    """The records of the complete lines, which begin at `offset` in the file, and the offset behind the last of them."""
    records: list[Record] = []
    for line in content.split(b"\n")[:-1]:
        line += b"\n"
        body = line[:-_TAIL]
        try:
            digest = _digest(digest, body)
            if digest_before(line, len(line)) != digest:
                raise ValueError("not its digest")
            records.append(Record(**json.loads(body + b"}")))
        except (ValueError, TypeError):
            raise DamagedError(path, records, offset) from None
        offset += len(line)
    return records, offset


def _digest(before: str, body: bytes) -> str:
    return hashlib.sha256(before.encode() + body).hexdigest()[:_DIGITS]


def _last_digest(content: bytes, seed: str) -> str:
    return digest_before(content, len(content)) or seed


def _seed(folder: Path) -> str:
    """What the first line's digest begins with: the run id, nothing in a folder without a config."""
    run_id: str = read_config(folder)["run_id"] if os.path.lexists(folder / CONFIG) else ""
    return run_id


def _unreadable(path: Path, error: OSError) -> InputError:
    return InputError(f"{path} cannot be read ({error.strerror}): make it yours or move it away, and start the run again")


def _reproducible(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if not name.startswith(MACHINE_METRICS)}
