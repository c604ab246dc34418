"""Whether the files of a run folder are what the run wrote, and mending those that are not.

What a run cannot lose is kept twice: the last checkpoint holds config.json and the journal as they were when it was written.
Results and weights can be made again from the last checkpoint; the journal's last line holds their SHA-256.
A damaged file is put aside and never overwritten, and what was done about it is said in one line.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mgnet_records.errors import InputError
from mgnet_records.run_result import RESULT_FILE, RunResult
from mgnet_train.errors import BusyError
from mgnet_train.runs.folder import (
    CERTIFICATE,
    CONFIG,
    CONFUSION,
    LAST,
    PREVIOUS,
    STATE,
    WEIGHTS,
    put_aside,
    read_config,
    read_plain,
    require_plain,
    write_config,
)
from mgnet_train.runs.journal import JOURNAL, Journal, Record, read_records
from mgnet_train.runs.lock import LOCK, FolderLock
from mgnet_train.tracking.store import LINK
from mgnet_train.tracking.uploader import LOCK as UPLOADER_LOCK
from mgnet_train.tracking.uploader import LOG, OFFSET

if TYPE_CHECKING:
    from mgnet_train.runs.checkpoint import State

_RESULTS = (RESULT_FILE, WEIGHTS, CONFUSION)
_OF_A_RUN = (CONFIG, STATE, JOURNAL, LAST, PREVIOUS, RESULT_FILE)
_FILES = (*_OF_A_RUN, WEIGHTS, CONFUSION, CERTIFICATE, LOCK, LINK, OFFSET, LOG, UPLOADER_LOCK)
_AGAIN = "move {name} away, and the command that trained the run writes it again from the last checkpoint"


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A run folder at the beginning of a start: the last checkpoint and the config, None where there is none yet.

    `journal` is what the checkpoint has of it, and `is_exact` whether all that led to the checkpoint was, None when that is not
    known. `notes` say what was damaged.
    """

    state: State | None
    config: dict[str, Any] | None
    journal: bytes
    is_exact: bool | None
    notes: list[str] = field(default_factory=list)


def run_folders(runs: Path) -> list[Path]:
    """All folders that hold a run or what is left of one, by name. Raises InputError when `runs` cannot be listed."""
    try:
        return sorted(path for path in runs.iterdir() if any(os.path.lexists(path / name) for name in _OF_A_RUN))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(f"folder {str(runs)!r} cannot be read ({error.strerror}): give another with --runs") from None


def require_plain_files(folder: Path) -> None:
    """Raise InputError when one of the run's files is something else, such as a folder or a link, or cannot be read."""
    require_plain(folder / name for name in _FILES)


def open_run(folder: Path, identity: str) -> Opened:
    """What an earlier start left in the folder, which this process has locked; a damaged config is restored.

    Raises InputError, and changes nothing, when a file is no plain file, and when what is needed is damaged beyond mending.
    """
    from mgnet_train.runs.checkpoint import Checkpoints  # imports torch, which `status` does without

    require_plain_files(folder)
    for rest in _leftovers(folder):
        rest.unlink(missing_ok=True)
    checkpoints = Checkpoints(folder, identity)
    state = checkpoints.load()
    notes = [f"{complaint}; going on from the previous one" for complaint in checkpoints.complaints]
    kept = {} if state is None else {name: state.pop(name) for name in ("config", "journal", "is_exact")}
    config = _config(folder, identity, kept.get("config"), notes)
    if state is None and os.path.lexists(folder / JOURNAL):
        notes.append(f"no checkpoint in {folder}: training from the beginning")
    return Opened(
        state=state, config=config, journal=kept.get("journal", "").encode(), is_exact=kept.get("is_exact", True), notes=notes
    )


def _leftovers(folder: Path) -> list[Path]:
    """What a killed process was about to write. The uploader may be writing its own just now."""
    return [path for path in folder.glob(".*.tmp") if not path.name.startswith((f".{OFFSET}", f".{LINK}"))]


def _config(folder: Path, identity: str, kept: dict[str, Any] | None, notes: list[str]) -> dict[str, Any] | None:
    path = folder / CONFIG
    if kept is None and not any(os.path.lexists(folder / name) for name in (CONFIG, JOURNAL, RESULT_FILE)):
        return None
    try:
        config = read_config(folder)
        if config["identity"] != identity:
            raise InputError(f"{path} belongs to another run: restore it, or delete the folder to train again")
        if kept is not None and config["run_id"] != kept["run_id"]:
            raise InputError(f"{path} belongs to another training of the run: restore it, or delete the folder to train again")
    except InputError as error:
        if kept is None:
            raise
        aside = f", the damaged one is kept as {put_aside(path).name}" if os.path.lexists(path) else ""
        notes.append(f"{str(error).partition(':')[0]}: restored from the checkpoint{aside}")
        return write_config(folder, kept)
    return config


def finished_files(folder: Path) -> dict[str, str]:
    """The SHA-256 of what a finished run consists of, as the journal's last line holds it."""
    return {name: _sha256(folder / name) for name in _RESULTS if os.path.lexists(folder / name)}


def require_finished(folder: Path, result: RunResult, identity: str) -> list[str]:
    """Check the files of a finished run, and mend config and journal from the checkpoint; notes that say what was mended.

    Raises InputError for results and weights that are not those the run ended with: these are evidence, and nothing replaces
    them in silence.
    """
    require_plain_files(folder)
    if fault := finished_fault(folder, result, weights=True):
        raise InputError(fault)
    try:
        is_whole = read_config(folder)["identity"] == identity and _end(read_records(folder / JOURNAL, 0)[0]) is not None
        if is_whole and not _leftovers(folder):
            return []
    except InputError:
        pass
    try:
        lock = FolderLock(folder)
    except BusyError:  # it has just finished, and its process still writes the end of the journal
        return []
    try:
        return _mend_finished(folder, result, identity)
    finally:
        lock.release()


def finished_fault(folder: Path, result: RunResult, *, weights: bool) -> str | None:
    """Why result.json and what belongs to it cannot be trusted, None when nothing speaks against it; one line.

    `weights` reads the weights too, which takes a second for a large network; else it is only seen whether they are there.
    """
    path = folder / RESULT_FILE
    try:
        run_id, records = read_config(folder)["run_id"], read_records(folder / JOURNAL, 0)[0]
    except InputError:  # said, or mended, elsewhere; the digest in result.json remains
        run_id, records = result.run_id, []
    if run_id != result.run_id:
        return f"{path} is of another run: restore the right one, or move it away, and the command that trained the run goes on"
    end = _end(records)
    expected = {WEIGHTS: result.checkpoint_sha256} | ({} if end is None or end.files is None else end.files)
    for name, sha256 in expected.items():
        if not os.path.lexists(folder / name):
            return f"{folder / name} is missing: restore it, or {_AGAIN.format(name=RESULT_FILE)}"
        if (weights or name != WEIGHTS) and _sha256(folder / name) != sha256:
            return (
                f"{folder / name} was changed since the run finished, its SHA-256 does not match: restore it, or "
                f"{_AGAIN.format(name=RESULT_FILE)}"
            )
    return None


def _mend_finished(folder: Path, result: RunResult, identity: str) -> list[str]:
    opened = open_run(folder, identity)
    if opened.config is None or opened.config["run_id"] != result.run_id:
        raise InputError(f"{folder / RESULT_FILE} is of another run: restore the right one, or move it away to train again")
    if not opened.journal:
        read_records(folder / JOURNAL, 0)  # without a checkpoint there is nothing to mend a damaged one from
    journal = Journal(folder, saved=opened.journal)
    try:
        if _end(journal.records) is None:
            journal.end("FINISHED", is_exact=None, files=finished_files(folder))
    finally:
        waiting = journal.close()
    if waiting:
        raise InputError(f"the end of {folder / JOURNAL} could not be written: make room, and the same command goes on")
    return [*opened.notes, *([journal.mended] if journal.mended else [])]


def _end(records: list[Record]) -> Record | None:
    """The last record, if it says that the run is finished and with which files."""
    return records[-1] if records and records[-1].status == "FINISHED" and records[-1].files else None


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(read_plain(path)).hexdigest()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): make it yours or restore it") from None
