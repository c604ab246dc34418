"""From files to records: run folders become measured records, certificates verified ones; audits and demos are records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from mgnet_leaderboard.records.measured import Measured, SeedRun, merged, record_of
from mgnet_leaderboard.records.union import Record, fault_if_committed, fault_of, path_of, verified
from mgnet_leaderboard.store.folder import Written, read_standing, write_records
from mgnet_leaderboard.store.mlflow_check import MlflowStore, mlflow_run_of
from mgnet_records import run_result
from mgnet_records.audit import Audit
from mgnet_records.certificate import Certificate, read_certificate
from mgnet_records.demo import DualityDemo
from mgnet_records.errors import InputError
from mgnet_records.run_result import RESULT_FILE, RunResult, read_run_result
from mgnet_records.strict_json import RECORD_LIMIT, first_fault, read_document

# What a trainer writes beside result.json.
CERTIFICATE_FILE = "certificate.json"
CONFIG_FILE = "config.json"

Ingestible = Annotated[RunResult | Certificate | Audit | DualityDemo, Field(discriminator="kind")]
INGESTIBLE: TypeAdapter[Ingestible] = TypeAdapter(Ingestible)


@dataclass(frozen=True, kw_only=True)
class FinishedRun:
    """A finished run and the folder, or the file, that it was read from."""

    source: Path
    result: RunResult


@dataclass
class Findings:
    """What was found under the given paths; `left_out` has a line for each run that cannot be taken."""

    runs: list[FinishedRun] = field(default_factory=list)
    documents: dict[str, Record] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    def add_document(self, source: Path, document: Certificate | Audit | DualityDemo) -> None:
        """Keep a document. Raises InputError for a second, different one in the same place."""
        record = verified(document) if isinstance(document, Certificate) else document
        if fault := fault_of(record):
            raise InputError(f"{source}: {fault}")
        if self.documents.setdefault(path_of(record), record) != record:
            raise InputError(f"{source}: is a second, different report for {path_of(record)}; give one of them")


def ingest(paths: Sequence[Path], into: Path, *, cross_check: str | None = None) -> Written:
    """Write what the paths hold as records; all of it is read before one record is written.

    A path is a run folder, a folder of run folders, or a file with a run result, a certificate, an audit or a demo. A run
    that cannot be taken is left out with its folder and the reason, and the others are taken; any other fault raises
    InputError. With `cross_check`, the address of an MLflow store, a run that was not sent there is left out, and one
    that differs from MLflow's copy raises InputError.
    """
    found = Findings()
    for path in paths:
        _read(path, found)
    if cross_check is not None:
        found.runs = list(cross_checked(found, MlflowStore(cross_check)))
    standing = read_standing(into)
    measured = _joined(found, standing)
    return write_records([*measured, *found.documents.values()], into, standing, left_out=found.left_out)


def submit(folder: Path, *, contributor: str, link: str | None, into: Path, cross_check: str | None = None) -> Written:
    """Write the record of one run, with the contributor's name. Raises InputError if others could not repeat the run."""
    result = read_run_result(folder / RESULT_FILE)
    if cross_check is not None:
        run_id = mlflow_run_of(folder)
        if run_id is None:
            raise InputError(f"{folder}: was not sent to MLflow; send it with mgnet-train sync, or leave out the cross-check")
        if fault := MlflowStore(cross_check).fault_of(run_id, result):
            raise InputError(f"{folder / RESULT_FILE}: {fault}")
    try:
        record = record_of(result, contributor=contributor, link=link)
    except ValidationError as error:
        raise InputError(first_fault(error)) from None
    if fault := fault_of(record) or fault_if_committed(record):
        raise InputError(f"{folder}: {fault}")
    standing = read_standing(into)
    if fault := _fault_of_standing(record, _counted_runs(standing.values())):
        raise InputError(f"{folder}: {fault}")
    return write_records([_with_standing([record], standing)], into, standing, committed=True)


def _read(path: Path, found: Findings) -> None:
    if path.is_dir():
        for folder in _run_folders(path, found):
            _read_run(folder, folder / RESULT_FILE, found)
    elif path.name == RESULT_FILE:
        _read_run(path.parent, path, found)
    else:
        document = read_document(path, INGESTIBLE, limit=RECORD_LIMIT)
        if not isinstance(document, RunResult):
            found.add_document(path, document)
        elif fault := run_result.fault_of(document):
            found.left_out.append(f"{path}: {fault}")
        else:
            found.runs.append(FinishedRun(source=path, result=document))


def _run_folders(path: Path, found: Findings) -> Iterator[Path]:
    """The folder itself when it is of a run, else the run folders in it. Raises InputError when there is none."""
    if _is_run(path):
        yield path
        return
    try:
        runs = [folder for folder in sorted(path.iterdir()) if folder.is_dir() and _is_run(folder)]
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; give a folder that is open to you") from None
    if not runs:
        raise InputError(f"{path}: holds no run; give a run folder, a folder of run folders, or .json files")
    for folder in runs:
        if (folder / RESULT_FILE).exists() or (folder / RESULT_FILE).is_symlink():
            yield folder
        else:
            found.left_out.append(f"{folder}: has no {RESULT_FILE}; the run has not finished")


def _is_run(folder: Path) -> bool:
    return any((folder / name).exists() or (folder / name).is_symlink() for name in (RESULT_FILE, CONFIG_FILE))


def _read_run(folder: Path, path: Path, found: Findings) -> None:
    try:
        found.runs.append(FinishedRun(source=folder, result=read_run_result(path)))
    except InputError as error:
        found.left_out.append(str(error))
        return
    certificate = folder / CERTIFICATE_FILE
    if certificate.exists():
        try:
            found.add_document(certificate, read_certificate(certificate))
        except InputError as error:
            found.left_out.append(str(error))


def cross_checked(found: Findings, store: MlflowStore) -> Iterator[FinishedRun]:
    """The runs of which MLflow has the same; one that was not sent is left out, one that differs raises InputError."""
    for run in found.runs:
        try:
            run_id = mlflow_run_of(run.source)
        except InputError as error:
            found.left_out.append(str(error))
            continue
        if run_id is None:
            found.left_out.append(f"{run.source}: was not sent to MLflow; send it with mgnet-train sync")
        elif fault := store.fault_of(run_id, run.result):
            raise InputError(f"{run.source}: {fault}")
        else:
            yield run


def _joined(found: Findings, standing: Mapping[str, Record]) -> list[Measured]:
    """Records of one identity as one, together with what the folder already has of them."""
    counted = _counted_runs(standing.values())
    seen: dict[str, FinishedRun] = {}
    groups: dict[str, list[Measured]] = {}
    for run in found.runs:
        record = record_of(run.result)
        twin = seen.setdefault(run.result.run_id, run)
        fault = fault_of(record) or _fault_of_standing(record, counted)
        if twin.result != run.result:
            fault = f"has the run id of {twin.source} and another result"
        if fault:
            found.left_out.append(f"{run.source}: {fault}")
        else:
            groups.setdefault(record.id, []).append(record)
    return [_with_standing(group, standing) for _, group in sorted(groups.items())]


def _counted_runs(records: Iterable[Record]) -> dict[str, tuple[str, SeedRun]]:
    """Run id -> the record that counts the run, and the run in it."""
    return {run.run_id: (path_of(record), run) for record in records if isinstance(record, Measured) for run in record.runs}


def _fault_of_standing(record: Measured, counted: Mapping[str, tuple[str, SeedRun]]) -> str | None:
    """Why the one run of a new record cannot be added to the folder; None when it can."""
    (run,) = record.runs
    place, standing = counted.get(run.run_id, (path_of(record), run))
    if place != path_of(record):
        return f"run {run.run_id} is already counted in {place}"
    return f"run {run.run_id} differs from what {place} has of it" if standing != run else None


def _with_standing(group: Sequence[Measured], standing: Mapping[str, Record]) -> Measured:
    present = standing.get(path_of(group[0]))
    return merged([*group, present] if isinstance(present, Measured) else group)
