"""The folder of records: every file in it is a valid record, in its place, and contradicts neither itself nor another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mgnet_leaderboard.records.measured import MOST_RUNS, Measured
from mgnet_leaderboard.records.union import RECORD, Record, fault_if_committed, fault_of, path_of, schema_text, text_of
from mgnet_leaderboard.store.evidence import gathered
from mgnet_records.errors import InputError
from mgnet_records.files import write_text
from mgnet_records.strict_json import RECORD_LIMIT, read_document

SCHEMA_FILE = "schema.json"
FOLDERS = ("claims", "demo", "measured", "verified")


@dataclass(frozen=True, kw_only=True)
class Written:
    """What a writing command did: files written, files that already had this content, and runs left out with the reason."""

    written: tuple[Path, ...]
    unchanged: tuple[Path, ...]
    left_out: tuple[str, ...] = ()


def read_results(folder: Path, *, committed: bool) -> tuple[Record, ...]:
    """All records of a folder; `committed` adds the rules for records that lie in git. Raises InputError for any other file."""
    if folder.is_symlink():
        raise InputError(f"{folder}: is a link; give the folder itself")
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder of results; give one with --results")
    records = []
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            raise InputError(f"{path}: is a link; a record is a plain file")
        if path.is_dir() or path.relative_to(folder).as_posix() == SCHEMA_FILE:
            continue
        records.append(read_placed(path, folder, committed=committed))
    return tuple(records)


def read_placed(path: Path, folder: Path, *, committed: bool) -> Record:
    """One record file, checked by itself: shape, place, id, summary. Raises InputError."""
    place = path.relative_to(folder).as_posix()
    if place.split("/")[0] not in FOLDERS or path.suffix != ".json":
        raise InputError(f"{path}: is no record; a results folder holds .json files in {', '.join(FOLDERS)}")
    record = read_document(path, RECORD, limit=RECORD_LIMIT)
    fault = fault_of(record) or (fault_if_committed(record) if committed else None)
    if fault:
        raise InputError(f"{path}: {fault}")
    if place != path_of(record):
        raise InputError(f"{path}: this record belongs in {path_of(record)}")
    return record


def read_standing(folder: Path) -> dict[str, Record]:
    """The records that a folder has, by their place in it; empty for a folder that does not exist yet. Raises InputError."""
    return {path_of(record): record for record in read_results(folder, committed=False)} if folder.is_dir() else {}


def write_records(
    records: Iterable[Record],
    into: Path,
    standing: Mapping[str, Record],
    *,
    committed: bool = False,
    left_out: Iterable[str] = (),
) -> Written:
    """Write the records where they belong in `into`, which has the records `standing`; `committed` as in `read_results`.

    Raises InputError, with no file written, if a record contradicts itself or another one.
    """
    records = list(records)
    for record in records:
        if fault := fault_of(record) or _fault_of_size(record):
            raise InputError(f"{path_of(record)}: {fault}")
    together = {**standing, **{path_of(record): record for record in records}}.values()
    gathered(together if committed else (), together)
    written: list[Path] = []
    unchanged: list[Path] = []
    for record in records:
        path = into / path_of(record)
        (written if write_file(path, text_of(record)) else unchanged).append(path)
    return Written(written=tuple(written), unchanged=tuple(unchanged), left_out=tuple(left_out))


def _fault_of_size(record: Record) -> str | None:
    """Why the record could be written and never read again; None when it can be read."""
    if isinstance(record, Measured) and len(record.runs) > MOST_RUNS:
        return f"has {len(record.runs)} seeds, a record has at most {MOST_RUNS}; ingest fewer runs of one identity"
    size = len(text_of(record).encode())
    return f"has {size} bytes, a record has at most {RECORD_LIMIT}; ingest less of it" if size > RECORD_LIMIT else None


def write_file(path: Path, text: str) -> bool:
    """Write the text by an atomic replacement, making the folder; False when the file already has it. Raises InputError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}; choose another folder") from None
    return write_text(path, text, durable=True, only_if_changed=True)


def check_schema(folder: Path) -> None:
    """InputError unless the committed JSON Schema is the one the record models give."""
    path = folder / SCHEMA_FILE
    if not path.is_file() or path.read_text(encoding="utf-8") != schema_text():
        raise InputError(f"{path}: is not the schema of the record models; write it with mgnet-leaderboard schema")
