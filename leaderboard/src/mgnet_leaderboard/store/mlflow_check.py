"""A run result compared with MLflow's copy of it; the only file that imports mlflow."""

from __future__ import annotations

import json
import math
import os
import re
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

from mgnet_records.errors import InputError
from mgnet_records.run_result import RESULT_FILE, RunResult, percent, read_run_result

# In the run folder; names the run of MLflow to which the run was sent.
LINK_FILE = "mlflow.json"
FILE_STORE = "sqlite:///"


def mlflow_run_of(folder: Path) -> str | None:
    """MLflow's id of the run in this folder; None when the run was never sent. Raises InputError for a corrupt link file."""
    link = folder / LINK_FILE
    if not link.is_file():
        return None
    try:
        return str(json.loads(link.read_text(encoding="utf-8"))["run_id"])
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{link}: does not name a run of MLflow; send the run again with mgnet-train sync") from None


class MlflowStore:
    """An MLflow store that can be asked whether it holds the same result."""

    def __init__(self, uri: str) -> None:
        """Open the store. Raises InputError for an address that is none, and for a file that is no store."""
        if "://" not in uri:
            raise InputError(f"{uri}: is no address of MLflow; give one such as sqlite:///runs/mlflow.db or http://HOST:PORT")
        if uri.startswith(FILE_STORE):
            _reject_foreign(Path(uri.removeprefix(FILE_STORE)))
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        from mlflow import MlflowClient

        self._address = without_password(uri)
        self._client: Any = MlflowClient(tracking_uri=uri)

    def fault_of(self, run_id: str, result: RunResult) -> str | None:
        """How MLflow's copy of the run differs from the result; None when it agrees. Raises InputError without an answer."""
        from mlflow.exceptions import MlflowException

        try:
            run = self._client.get_run(run_id)
            copied = self._result_of(run_id)
        except (MlflowException, OSError) as error:
            raise InputError(f"{self._address}: MLflow run {run_id}: {without_password(str(error))}") from None
        if run.info.status != "FINISHED":
            return f"MLflow run {run_id} is {run.info.status}, not FINISHED"
        for name, correct in (("last", result.test.correct_last), ("best", result.test.correct_best)):
            logged, derived = run.data.metrics.get(f"test/accuracy_{name}"), percent(correct, result.test.n)
            if logged is None or not math.isclose(logged, derived, rel_tol=0, abs_tol=1e-9):
                counted = f"{correct} of {result.test.n} correct, which is {derived:.4f} %"
                return f"MLflow run {run_id}: test/accuracy_{name} is {logged}, but {RESULT_FILE} has {counted}"
        if copied is not None and copied != result:
            return f"differs from the artifact {RESULT_FILE} of MLflow run {run_id}"
        return None

    def _result_of(self, run_id: str) -> RunResult | None:
        """The result that was uploaded as an artifact; None when it was not."""
        if all(artifact.path != RESULT_FILE for artifact in self._client.list_artifacts(run_id)):
            return None
        with tempfile.TemporaryDirectory(prefix="mgnet-leaderboard-") as folder:
            return read_run_result(Path(self._client.download_artifacts(run_id, RESULT_FILE, folder)))


def without_password(text: str) -> str:
    """The text with user and password of every address in it left out."""
    return re.sub(r"://[^/\s@]*@", "://...@", text)


def _reject_foreign(database: Path) -> None:
    """Look before MLflow does: it would turn a missing, empty or foreign file into a new store."""
    if not database.is_file():
        raise InputError(f"{database}: there is no such file; give the store that the runs were sent to")
    try:
        with sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True) as connection:
            found = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'runs'").fetchone()
        connection.close()
    except sqlite3.Error as error:
        raise InputError(f"{database}: is not a readable MLflow store ({error}); give the file that MLflow wrote") from None
    if found is None:
        raise InputError(f"{database}: is not an MLflow store (it has no table of runs); give the file that MLflow wrote")
