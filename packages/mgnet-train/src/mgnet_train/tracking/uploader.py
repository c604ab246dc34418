"""The uploader: a process of its own that copies a run's journal to MLflow, while the run trains or afterwards.

A store that is down, dies or hangs delays the uploader and nothing else. The offset file says up to which byte of the journal
MLflow has everything:

1. Read the complete records behind the offset.
2. Send them. Metrics carry the time at which they were measured, so MLflow keeps one copy of what is sent twice.
3. Write the new offset, atomically. A kill between 2 and 3 sends the same records again, which step 2 allows; no record is
   ever lost, because the offset never passes what was sent.
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from pathlib import Path

from mgnet_records.errors import InputError
from mgnet_records.files import write_text
from mgnet_records.run_result import RESULT_FILE
from mgnet_train.errors import BusyError
from mgnet_train.runs.folder import LAST, read_plain
from mgnet_train.runs.journal import JOURNAL, digest_at, read_records
from mgnet_train.runs.lock import exclusive
from mgnet_train.tracking.uri import store_uri

_PAUSE = 1.0
_LONGEST_PAUSE = 30.0
OFFSET = "journal.offset"
LOG = "uploader.log"
LOCK = "uploader.lock"


def start_uploader(folder: Path) -> subprocess.Popen[bytes]:
    """Upload the folder's journal from another process, which ends after the run's last record or this process's death."""
    with open(folder / LOG, "ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "mgnet_train.tracking.uploader", str(folder), str(os.getpid())],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # a Ctrl-C in the terminal is for the training
        )


def unsent(folder: Path) -> bool:
    """Whether the store still lacks a part of the journal; so it does when the journal of a run is missing."""
    try:
        found = os.lstat(folder / JOURNAL)
    except OSError:
        return os.path.lexists(folder / LAST) or os.path.lexists(folder / RESULT_FILE)
    return not stat.S_ISREG(found.st_mode) or sent_bytes(folder) != found.st_size


def sent_bytes(folder: Path) -> int:
    """The byte offset up to which the store has the journal; 0, to send all again, when that is not known for sure.

    The offset file holds the offset and the digest of the line that ends there, so that neither a damaged offset nor another
    journal makes the uploader skip anything.
    """
    try:
        text, digest = read_plain(folder / OFFSET, limit=100).decode("ascii").split()
        offset = int(text)
        return offset if offset > 0 and digest == digest_at(folder / JOURNAL, offset) else 0
    except (OSError, ValueError):
        return 0


class Uploader:
    """Copies one folder's journal; the MLflow run is opened at the first record and again after a failure."""

    def __init__(self, folder: Path) -> None:
        from mgnet_train.tracking.client import MlflowRun

        self._folder = folder
        self._open = lambda: MlflowRun(folder, store_uri(folder.parent))
        self._run: MlflowRun | None = None
        self.has_ended = False

    def send_new(self) -> None:
        """Send what the journal has and the store does not. Raises whatever the store raises; then the offset stays."""
        records, end = read_records(self._folder / JOURNAL, sent_bytes(self._folder))  # 1
        if not records:
            if end == 0 and unsent(self._folder):
                raise InputError(
                    f"{self._folder / JOURNAL} is missing or empty: restore it, or start the run again with the command that "
                    "trained it, which mends it from the last checkpoint"
                )
            return
        self._run = self._run or self._open()
        self._run.send([record for record in records if record.kind != "end"])  # 2
        last = records[-1]
        if last.kind == "end":
            self._run.finish(last.status or "FINISHED", last.time)
        write_text(self._folder / OFFSET, f"{end} {digest_at(self._folder / JOURNAL, end)}")  # 3
        self.has_ended = last.kind == "end"

    def follow(self, parent: int) -> None:
        """Send until the run has ended, or until its process is gone and all is sent."""
        pause = _PAUSE
        while not self.has_ended:
            orphaned = os.getppid() != parent
            try:
                self.send_new()
                pause = _PAUSE
            except Exception as error:  # the store's; whatever it is, the journal keeps the metrics
                _log(error)
                self._run = None
                if orphaned:
                    return
                pause = min(2 * pause, _LONGEST_PAUSE)
            if orphaned and not unsent(self._folder):
                return
            if not self.has_ended:
                time.sleep(pause)


def upload_beside(folder: Path, parent: int, *, lock_seconds: float = 300.0) -> None:
    """Follow the folder's journal, once the uploader of an earlier start has released it.

    Waits in turns of `lock_seconds`, for as long as the process `parent` is this one's parent.
    """
    while True:
        try:
            with exclusive(folder / LOCK, seconds=lock_seconds):
                return Uploader(folder).follow(parent)
        except BusyError as error:
            _log(error)
            if os.getppid() != parent:
                return None


def _log(error: Exception) -> None:
    print(f"{time.strftime('%FT%TZ', time.gmtime())} {type(error).__name__}: {error}", flush=True)


if __name__ == "__main__":
    upload_beside(Path(sys.argv[1]), int(sys.argv[2]))
