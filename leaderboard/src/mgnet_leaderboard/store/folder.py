"""A results folder: every file in it is a valid record, in its place, and does not contradict itself."""

from __future__ import annotations

from pathlib import Path

from mgnet_leaderboard.board.reported import PaperClaims
from mgnet_leaderboard.duality_demo import DualityDemo, fault_of_demo
from mgnet_leaderboard.records.measured import Measured, fault_of_measured
from mgnet_leaderboard.records.verified import Verified, fault_of_report, verified_id
from mgnet_leaderboard.refusal import RefusedError
from mgnet_leaderboard.store.schema import RECORD, Record, path_of, schema_text
from mgnet_leaderboard.strict_json import CLAIMS_LIMIT, RECORD_LIMIT, read_record

SCHEMA_FILE = "schema.json"
FOLDERS = ("claims", "demo", "measured", "verified")


def read_results(folder: Path, *, committed: bool) -> tuple[Record, ...]:
    """All records of one results folder; `committed` adds the rules for records that stand in git."""
    if folder.is_symlink():
        raise RefusedError(f"{folder}: is a link; give the folder itself")
    if not folder.is_dir():
        raise RefusedError(f"{folder}: no such folder of results; give one with --results")
    records = []
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            raise RefusedError(f"{path}: is a link; a record is a plain file")
        if path.is_dir() or path.relative_to(folder).as_posix() == SCHEMA_FILE:
            continue
        records.append(read_placed(path, folder, committed=committed))
    return tuple(records)


def read_placed(path: Path, folder: Path, *, committed: bool) -> Record:
    """One record file, checked by itself: shape, place, id, summary."""
    place = path.relative_to(folder).as_posix()
    if place.split("/")[0] not in FOLDERS or path.suffix != ".json":
        raise RefusedError(f"{path}: is no record; a results folder holds .json files in {', '.join(FOLDERS)}")
    record = read_record(path, RECORD, limit=CLAIMS_LIMIT if place.startswith("claims/") else RECORD_LIMIT)
    fault = fault_of(record) or (fault_if_committed(record) if committed else None)
    if fault:
        raise RefusedError(f"{path}: {fault}")
    if place != path_of(record):
        raise RefusedError(f"{path}: this record belongs in {path_of(record)}")
    return record


def fault_of(record: Record) -> str | None:
    """What contradicts itself in a record; None when nothing does."""
    match record:
        case Measured():
            return fault_of_measured(record)
        case Verified():
            return fault_of_report(record.report) or _fault_of_verified_id(record)
        case DualityDemo():
            return fault_of_demo(record)
        case PaperClaims():
            ids = [row.id for row in record.rows]
            return "a printed row stands twice" if len(set(ids)) != len(ids) else None
        case _:
            return None


def _fault_of_verified_id(record: Verified) -> str | None:
    expected = verified_id(record.report)
    return None if record.id == expected else f"the id is {record.id} but the content gives {expected}"


def fault_if_committed(record: Record) -> str | None:
    """Why a sound record may still not stand in git: nobody else could repeat it."""
    if isinstance(record, Verified):
        return _fault_of_origin(record.report.commit, record.report.dirty)
    return _fault_of_origin(record.commit, record.dirty) if isinstance(record, Measured) else None


def _fault_of_origin(commit: str | None, dirty: bool | None) -> str | None:
    if dirty:
        return "comes from a tree with uncommitted changes (dirty: true); commit them and run again"
    return "names no commit; run again inside the git repository" if commit is None else None


def check_schema(folder: Path) -> None:
    """RefusedError unless the committed JSON Schema is the one the record models give."""
    path = folder / SCHEMA_FILE
    if not path.is_file() or path.read_text(encoding="utf-8") != schema_text():
        raise RefusedError(f"{path}: is not the schema of the record models; write it with mgnet-leaderboard schema")
