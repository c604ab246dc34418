"""The uploader: a process of its own that copies a run's journal to MLflow, while the run trains or afterwards.

A store that is down, dies or hangs delays the uploader and nothing else. The offset file says up to which byte of the journal
which run of MLflow has everything:

1. Read the offset.
2. Have the store's process send the complete records behind it (`mgnet_train.tracking.store`).
3. Write the new offset, atomically. A kill between 2 and 3 sends the same records again, which is allowed; no record is
   ever lost, because the offset never passes what was sent.

An offset that does not fit the journal, or that belongs to another run of MLflow, counts as none: all is sent again.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from mgnet_records.addresses import without_secrets
from mgnet_records.errors import InputError
from mgnet_records.files import write_json
from mgnet_records.run_result import RESULT_FILE
from mgnet_train.errors import BusyError
from mgnet_train.runs.folder import LAST, open_plain, read_json
from mgnet_train.runs.journal import JOURNAL, digest_at
from mgnet_train.runs.lock import exclusive
from mgnet_train.tracking.store import LINK, NoAnswerError, Sent, Store
from mgnet_train.tracking.uri import DATABASE, is_default, store_name, store_uri

_PAUSE = 1.0
_LONGEST_PAUSE = 30.0
OFFSET = "journal.offset"
LOG = "uploader.log"
LOCK = "uploader.lock"
_BLOCK = 4096
_LARGEST_OFFSET = 1 << 60


class Sending(Protocol):
    """What sends a folder: the store's process, or MLflow's client in this one."""

    def send(self, folder: Path, sent: Sent | None) -> Sent | None:
        """Send what the journal has behind `sent`; what MLflow has now."""


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
    """Whether the store that the environment names still lacks records of the journal, as far as this folder knows.

    So it does when the journal of a run is missing.
    """
    there = _complete_bytes(folder / JOURNAL)
    if there == 0:
        return os.path.lexists(folder / LAST) or os.path.lexists(folder / RESULT_FILE)
    sent = read_sent(folder)
    return sent is None or sent.bytes != there or read_json(folder / LINK).get("store") != _store(folder)


def read_sent(folder: Path) -> Sent | None:
    """What the offset file says; None, to send all again, when there is none or when it does not fit the journal.

    It holds the digest of the line that ends at the offset, so that neither a damaged offset nor another journal makes the
    uploader skip anything.
    """
    found = read_json(folder / OFFSET)
    run_id, offset, digest = found.get("run_id"), found.get("bytes"), found.get("digest")
    if not isinstance(run_id, str) or type(offset) is not int or not 0 < offset <= _LARGEST_OFFSET:
        return None
    try:
        return Sent(run_id=run_id, bytes=offset) if digest == digest_at(folder / JOURNAL, offset) else None
    except OSError:
        return None


class Uploader:
    """Copies one folder's journal. Whoever makes one holds the folder's lock LOCK."""

    def __init__(self, folder: Path, store: Sending, *, say: Callable[[str], None] = print) -> None:
        self._folder, self._store, self._say = folder, store, say
        self.has_ended = False

    def send_new(self) -> None:
        """Send what the journal has and the store does not. Raises what the store raises; then the offset stays."""
        before = read_sent(self._folder)  # 1
        if before is None and os.path.lexists(self._folder / OFFSET):
            self._say(f"{self._folder.name}: {OFFSET} does not fit {JOURNAL}, so all of it is sent again")
        if _complete_bytes(self._folder / JOURNAL) == 0:
            if unsent(self._folder):
                raise InputError(
                    f"{self._folder / JOURNAL} is missing or empty: restore it, or start the run again with the command that "
                    "trained it, which mends it from the last checkpoint"
                )
            return
        sent = self._store.send(self._folder, before)  # 2
        if sent is None:
            return
        link = {"run_id": sent.run_id, "store": _store(self._folder)}
        write_json(self._folder / LINK, link, only_if_changed=True)
        offset = {"run_id": sent.run_id, "bytes": sent.bytes, "digest": digest_at(self._folder / JOURNAL, sent.bytes)}
        write_json(self._folder / OFFSET, offset, only_if_changed=True)  # 3
        self.has_ended = sent.has_ended

    def follow(self, parent: int) -> None:
        """Send until the run has ended, or until its process is gone and all is sent."""
        pause = _PAUSE
        while not self.has_ended:
            orphaned = os.getppid() != parent
            try:
                if unsent(self._folder):
                    self.send_new()
                pause = _PAUSE
            except Exception as error:  # the store's; whatever it is, the journal keeps the metrics
                _log(error, self._folder)
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
            with (
                exclusive(folder / LOCK, seconds=lock_seconds),
                open(folder / LOG, "ab") as log,
                Store(folder.parent, log=log) as store,
            ):
                return Uploader(folder, store).follow(parent)
        except BusyError as error:
            _log(error, folder)
            if os.getppid() != parent:
                return None


def sync_all(folders: list[Path], store: Store, say: Callable[[str], None]) -> int:
    """Send run after run; what fails for one is one line, and the others are sent. Returns how many MLflow lacks.

    When the store stops answering at all, the rest is left for later.
    """
    failed = 0
    for number, folder in enumerate(folders, start=1):
        place = f"[{number}/{len(folders)}] {folder.name}"
        try:
            with exclusive(folder / LOCK, seconds=1.0):
                Uploader(folder, store, say=say).send_new()
            say(place)
        except BusyError:
            failed += 1
            say(f"{place}: another process is sending it")
        except Exception as error:  # a damaged folder, or whatever the store raises
            failed += 1
            say(f"{place}: FAILED, {_line(error, folder)}")
            if isinstance(error, NoAnswerError) and number < len(folders):
                try:
                    store.check()
                except NoAnswerError as still:
                    say(f"the store does not answer any more ({still}): {len(folders) - number} runs are left for later")
                    return failed + len(folders) - number
                except Exception:  # it answers
                    continue
    return failed


def _complete_bytes(journal: Path) -> int:
    """The length of the journal without a torn last line, which a kill may leave and nobody completes."""
    try:
        with open(open_plain(journal), "rb") as file:
            end = file.seek(0, os.SEEK_END)
            while end > 0:
                begin = max(0, end - _BLOCK)
                file.seek(begin)
                newline = file.read(end - begin).rfind(b"\n")
                if newline >= 0:
                    return begin + newline + 1
                end = begin
    except FileNotFoundError:
        return 0
    except OSError:  # a folder, a link: reading it says what it is
        return 1
    return 0


def _store(folder: Path) -> str:
    """What the link file says of the store; a folder of runs may be moved with its default database."""
    return DATABASE if is_default() else store_name(folder.parent)


def _line(error: Exception, folder: Path) -> str:
    return without_secrets(" ".join(str(error).split()) or type(error).__name__, store_uri(folder.parent))


def _log(error: Exception, folder: Path) -> None:
    print(f"{time.strftime('%FT%TZ', time.gmtime())} {type(error).__name__}: {_line(error, folder)}", flush=True)


if __name__ == "__main__":
    upload_beside(Path(sys.argv[1]), int(sys.argv[2]))
