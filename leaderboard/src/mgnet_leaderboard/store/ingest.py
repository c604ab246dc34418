"""From MLflow to records: each finished run is checked against its own metrics, then joined to its identity."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

from pydantic import ValidationError

from mgnet_leaderboard.accuracy import percent
from mgnet_leaderboard.placing import Written, place
from mgnet_leaderboard.records.measured import Measured
from mgnet_leaderboard.refusal import RefusedError, first_fault
from mgnet_leaderboard.run_result import RUN_RESULT, RunResult, merged, single_run_record
from mgnet_leaderboard.store.folder import fault_if_committed, fault_of, read_placed
from mgnet_leaderboard.store.mlflow_check import FinishedRun, finished_runs
from mgnet_leaderboard.store.schema import path_of
from mgnet_leaderboard.strict_json import read_record


def export(runs: Path, into: Path) -> Written:
    """Write every finished run of the store as records; a second call writes nothing."""
    results = [(run, result_of(run)) for run in finished_runs(runs)]
    records = [single_run_record(result) for _, result in results if result is not None]
    skipped = [f"{run.run_id}: finished without result.json" for run, result in results if result is None]
    return place(joined(records, into), into, skipped=skipped)


def submit(run_folder: Path, *, runs: Path, contributor: str, link: str | None, into: Path) -> Written:
    """Write the record of one run, with the contributor's name; refused if others could not repeat the run."""
    wanted = read_record(run_folder / "result.json", RUN_RESULT)
    for run in finished_runs(runs):
        if run.run_id != wanted.mlflow_run_id:
            continue
        if result_of(run) != wanted:
            raise RefusedError(f"{run_folder / 'result.json'}: differs from the artifact of MLflow run {run.run_id}")
        record = _signed(wanted, contributor, link)
        if fault := fault_if_committed(record):
            raise RefusedError(f"{run_folder}: {fault}")
        return place(joined([record], into), into)
    raise RefusedError(f"{run_folder}: MLflow run {wanted.mlflow_run_id} is not among the finished runs of {runs}")


def _signed(result: RunResult, contributor: str, link: str | None) -> Measured:
    try:
        return single_run_record(result, contributor=contributor, link=link)
    except ValidationError as error:
        raise RefusedError(first_fault(error)) from None


def result_of(run: FinishedRun) -> RunResult | None:
    """The result of a run, cross-checked: its own id, and the accuracies that MLflow holds."""
    if run.result is None:
        return None
    result = read_record(run.result, RUN_RESULT)
    if result.mlflow_run_id != run.run_id:
        raise RefusedError(f"MLflow run {run.run_id}: its result.json is of run {result.mlflow_run_id}")
    if result.test.n != result.dataset.n:
        raise RefusedError(f"MLflow run {run.run_id}: tested {result.test.n} of {result.dataset.n} images")
    for name, correct in (("last", result.test.correct_last), ("best", result.test.correct_best)):
        logged = run.metrics.get(f"test/accuracy_{name}")
        derived = percent(correct, result.test.n)
        if logged is None or not math.isclose(logged, derived, rel_tol=0, abs_tol=1e-9):
            counted = f"{correct} of {result.test.n} right, which is {derived:.4f} %"
            raise RefusedError(f"MLflow run {run.run_id}: test/accuracy_{name} is {logged}, but result.json has {counted}")
    return result


def joined(records: Iterable[Measured], into: Path) -> list[Measured]:
    """Records of one identity as one, together with what already stands in the folder."""
    groups: dict[str, list[Measured]] = {}
    for record in records:
        if fault := fault_of(record):
            raise RefusedError(f"MLflow run {record.runs[0].mlflow_run_id}: {fault}")
        groups.setdefault(record.id, []).append(record)
    for group in groups.values():
        standing = into / path_of(group[0])
        if standing.is_file():
            found = read_placed(standing, into, committed=False)
            assert isinstance(found, Measured), "the place of a measured record holds a measured record"
            group.append(found)
    return [merged(group) for _, group in sorted(groups.items())]
