"""A run result compared with MLflow's copy of it, in a child process with a deadline; the only file that imports mlflow."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import tempfile
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from mgnet_records.addresses import shown, without_secrets
from mgnet_records.errors import InputError
from mgnet_records.run_result import RESULT_FILE, RunResult, percent, read_run_result

# In the run folder; names the run of MLflow to which the run was sent.
LINK_FILE = "mlflow.json"
# A server that is not there is noticed within seconds; what a person sets wins.
_FIRST_CONTACT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
_SECONDS = 300.0  # for MLflow's import and for each run; MLflow's own time-outs are shorter


def mlflow_run_of(folder: Path) -> str | None:
    """MLflow's id of the run in this folder; None when the run was never sent. Raises InputError for a corrupt link file."""
    link = folder / LINK_FILE
    if not link.is_file():
        return None
    try:
        return str(json.loads(link.read_text(encoding="utf-8"))["run_id"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise InputError(f"{link}: does not name a run of MLflow; send the run again with mgnet-train sync") from None


class MlflowStore:
    """An MLflow store that can be asked whether it holds the same result. What its address means is MLflow's business."""

    def __init__(self, uri: str, *, seconds: float = _SECONDS) -> None:
        """Open the store. Raises InputError for what MLflow cannot use, and for a database that is no store of MLflow."""
        self._address, self._seconds = shown(uri), seconds
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        context = multiprocessing.get_context("forkserver")  # imports MLflow once, for all stores that are asked
        context.set_forkserver_preload(["mlflow.tracking", "mlflow.store.db.utils", __name__])
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, uri), daemon=True)
        self._process.start()
        theirs.close()
        self._answer()

    def fault_of(self, run_id: str, result: RunResult) -> str | None:
        """How MLflow's copy of the run differs from the result; None when it agrees. Raises InputError without an answer."""
        self._pipe.send((run_id, result))
        return self._answer()

    def _answer(self) -> str | None:
        error: str | None = f"no answer within {self._seconds:g} s"
        fault: str | None = None
        if self._pipe.poll(self._seconds):
            try:
                fault, error = self._pipe.recv()
            except EOFError:
                error = "MLflow's process died"
        if error is not None:
            self._process.kill()
            raise InputError(f"MLflow store {self._address}: {error}")
        return fault


def _serve(pipe: Connection, uri: str) -> None:
    """Compare run after run until the parent is gone; an answer is a fault, or an error that is one line without secrets."""
    silence = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # MLflow prints addresses
        os.dup2(silence, stream)
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    with suppress(EOFError, OSError):  # the parent is gone
        try:
            client = _open(uri)
            pipe.send((None, None))
            while True:
                run_id, result = pipe.recv()
                pipe.send((_fault_of(client, run_id, result), None))
        except (EOFError, BrokenPipeError):
            raise
        except Exception as error:  # MLflow, databases and servers raise many kinds
            text = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
            pipe.send((None, " ".join(without_secrets(text, uri).split())[:600]))


def _open(uri: str) -> Any:
    """MLflow's client. Looks at a database before MLflow does, which would turn an empty or foreign one into a new store."""
    try:
        from mlflow import MlflowClient
        from mlflow.store.db.db_types import DATABASE_ENGINES, SQLITE
        from mlflow.store.db.utils import create_sqlalchemy_engine
        from mlflow.utils.uri import get_uri_scheme
    except ImportError as error:
        raise InputError(f"{error}; install mgnet-leaderboard[cross-check]") from None

    if get_uri_scheme(uri) in DATABASE_ENGINES:
        engine = create_sqlalchemy_engine(uri)
        if engine.dialect.name == SQLITE and not Path(engine.url.database or "").is_file():
            raise InputError("there is no such file; give the store that the runs were sent to")
        with engine.connect() as connection:
            try:
                connection.exec_driver_sql("SELECT count(*) FROM sqlite_master" if engine.dialect.name == SQLITE else "SELECT 1")
            except Exception as error:  # each driver has its own
                raise InputError(f"is not a readable MLflow store ({error}); give the database that MLflow wrote") from None
            try:
                connection.exec_driver_sql("SELECT count(*) FROM runs")
            except Exception:
                raise InputError("is not an MLflow store (it has no table of runs); give the database that MLflow wrote") from None
        engine.dispose()
    client = MlflowClient(tracking_uri=uri)
    given = {name: os.environ.get(name) for name in _FIRST_CONTACT}
    os.environ.update({name: value for name, value in _FIRST_CONTACT.items() if given[name] is None})
    client.search_experiments(max_results=1)
    for name, value in given.items():
        if value is None:
            del os.environ[name]
    return client


def _fault_of(client: Any, run_id: str, result: RunResult) -> str | None:
    try:
        run = client.get_run(run_id)
        copied = _result_of(client, run_id)
    except Exception as error:
        raise InputError(f"MLflow run {run_id}: {error}") from None
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


def _result_of(client: Any, run_id: str) -> RunResult | None:
    """The result that was uploaded as an artifact; None when it was not."""
    if all(artifact.path != RESULT_FILE for artifact in client.list_artifacts(run_id)):
        return None
    with tempfile.TemporaryDirectory(prefix="mgnet-leaderboard-") as folder:
        return read_run_result(Path(client.download_artifacts(run_id, RESULT_FILE, folder)))
