"""The sender: a process of its own that copies a run's journal to MLflow, while the run trains or afterwards.

A store that is down, dies or hangs holds up the sender and nothing else. `journal.ack` says up to which byte the store has
the journal, so nothing is lost and, with the original time stamps, nothing is kept twice.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from mgnet_train.atomic import write_bytes
from mgnet_train.errors import BusyError
from mgnet_train.runs.journal import JOURNAL, Record, read_records
from mgnet_train.runs.lock import exclusive
from mgnet_train.tracking.uri import store_uri

_PAUSE = 1.0
_LONGEST_PAUSE = 30.0
ACK = "journal.ack"
LOG = "sender.log"


def start_sender(folder: Path) -> subprocess.Popen[bytes]:
    """Send the folder's journal from another process, which ends after the run's last record or this process's death."""
    with open(folder / LOG, "ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "mgnet_train.tracking.uploader", str(folder), str(os.getpid())],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # a Ctrl-C in the terminal is for the training
        )


def unsent(folder: Path) -> bool:
    """Whether the store still lacks a part of the journal."""
    journal = folder / JOURNAL
    return journal.exists() and acknowledged(folder) < journal.stat().st_size


def acknowledged(folder: Path) -> int:
    """The byte offset up to which the store has the journal."""
    try:
        return int((folder / ACK).read_text(encoding="ascii"))
    except (FileNotFoundError, ValueError):
        return 0


class Sender:
    """Copies one folder's journal; the MLflow run is opened at the first record and again after a failure."""

    def __init__(self, folder: Path) -> None:
        from mgnet_train.tracking.client import MlflowRun

        self._folder = folder
        self._open = lambda: MlflowRun(folder, store_uri(folder.parent))
        self._run: MlflowRun | None = None
        self.has_ended = False

    def send_new(self) -> None:
        """Send what the journal has and the store has not. Raises whatever the store raises; then nothing counts as sent."""
        records, end = read_records(self._folder / JOURNAL, acknowledged(self._folder))
        if not records:
            return
        self._run = self._run or self._open()
        self._run.send([record for record in records if record.kind != "end"])
        last: Record = records[-1]
        if last.kind == "end":
            self._run.finish(last.status or "FINISHED", last.time)
        write_bytes(self._folder / ACK, str(end).encode())
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
                _tell(error)
                self._run = None
                if orphaned:
                    return
                pause = min(2 * pause, _LONGEST_PAUSE)
            if orphaned and not unsent(self._folder):
                return
            if not self.has_ended:
                time.sleep(pause)


def send_beside(folder: Path, parent: int) -> None:
    """Follow the folder's journal, after an earlier start's sender that still sends it."""
    while True:
        try:
            with exclusive(folder / "sender.lock"):
                return Sender(folder).follow(parent)
        except BusyError as error:
            _tell(error)
            if os.getppid() != parent:
                return None


def _tell(error: Exception) -> None:
    print(f"{time.strftime('%FT%TZ', time.gmtime())} {type(error).__name__}: {error}", flush=True)


if __name__ == "__main__":
    send_beside(Path(sys.argv[1]), int(sys.argv[2]))
