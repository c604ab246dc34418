"""The finished runs of an MLflow store in a runs folder; the only file that imports mlflow."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mgnet_leaderboard.refusal import RefusedError

DATABASE = "mlflow.db"
ARTIFACT = "result.json"


@dataclass(frozen=True, kw_only=True)
class FinishedRun:
    """A finished run: its id, its metrics, and a local copy of its result.json (None when it has none)."""

    run_id: str
    metrics: dict[str, float]
    result: Path | None


def finished_runs(folder: Path) -> Iterator[FinishedRun]:
    """Every finished run of the store, first finished first; RefusedError when there is no store or it cannot be read."""
    database = folder / DATABASE
    if not database.is_file():
        raise RefusedError(f"{folder}: holds no {DATABASE}; train first, or give the folder of the runs with --runs")
    _refuse_foreign(database)
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    client = MlflowClient(tracking_uri=f"sqlite:///{database.resolve()}")
    try:
        runs = list(_all_finished(client))
        with tempfile.TemporaryDirectory(prefix="mgnet-leaderboard-") as copies:
            for run in runs:
                result = _result_of(client, run.info.run_id, Path(copies) / run.info.run_id)
                yield FinishedRun(run_id=run.info.run_id, metrics=dict(run.data.metrics), result=result)
    except (MlflowException, OSError) as error:
        raise RefusedError(f"{database}: MLflow cannot read it: {error}") from None


def _refuse_foreign(database: Path) -> None:
    """Look before MLflow does: it would turn an empty or foreign file into a new store."""
    try:
        with sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True) as connection:
            found = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'runs'").fetchone()
        connection.close()
    except sqlite3.Error as error:
        raise RefusedError(f"{database}: is not a readable MLflow store ({error})") from None
    if found is None:
        raise RefusedError(f"{database}: is not an MLflow store (it has no table of runs)")


def _all_finished(client: Any) -> Iterator[Any]:
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    token = None
    while experiments:
        page = client.search_runs(
            experiments,
            filter_string="attributes.status = 'FINISHED'",
            order_by=["attributes.end_time ASC", "attributes.run_id ASC"],
            page_token=token,
        )
        yield from page
        token = page.token
        if not token:
            return


def _result_of(client: Any, run_id: str, copy: Path) -> Path | None:
    if all(artifact.path != ARTIFACT for artifact in client.list_artifacts(run_id)):
        return None
    copy.mkdir()
    return Path(client.download_artifacts(run_id, ARTIFACT, str(copy)))
