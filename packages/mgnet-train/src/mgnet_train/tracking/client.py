"""One run of ours as one MLflow run, found again by its id or by its tag; made in the child process alone.

What is sent may be sent again: a point that MLflow has is left out, and at the end of a run its points are read back and
compared with the journal. So MLflow has every point once, whatever a server lost or took twice.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from mgnet_records.run_result import RESULT_FILE
from mgnet_train.runs.folder import CERTIFICATE, CONFIG, WEIGHTS, read_config, read_json
from mgnet_train.runs.journal import IS_EXACT, JOURNAL, Record, read_records
from mgnet_train.runs.lock import exclusive
from mgnet_train.runs.result import read_result
from mgnet_train.tracking.calls import Watched, first_contact, in_one_line, once
from mgnet_train.tracking.figures import draw_figures
from mgnet_train.tracking.metadata import EXPERIMENT_TAGS, RUN_ID_TAG, dataset, parameters, tags
from mgnet_train.tracking.store import LINK, StoreError
from mgnet_train.tracking.uri import is_default

MODEL_TAG = "mgnet.exported_model"
REGISTERED_TAG = "mgnet.registered_model"
FIGURES = "figures"
_FAILED = "none ("
_DATA_SET = "the data set"
_NAME_LENGTH = _SHORT_VALUE = 250  # what every version of MLflow takes
_METRICS_A_BATCH, _PARAMETERS_A_BATCH = 900, 90  # MLflow takes 1000 and 100
# A store that answers with one of these will not answer otherwise the next time.
_FINAL = {"INVALID_PARAMETER_VALUE", "ENDPOINT_NOT_FOUND", "NOT_IMPLEMENTED", "FEATURE_DISABLED"}
_FOREIGN = "something answers there, and not as MLflow does: look at the address, or at the proxy before it"


def experiment_name() -> str:
    """The experiment that MLflow's standard variable names; on Databricks it must be a path, such as /Users/me/mgnet."""
    return os.environ.get("MLFLOW_EXPERIMENT_NAME") or "mgnet"


class MlflowRun:
    """The MLflow run that belongs to a run folder.

    Constructing it only looks; `run_id` is None while there is no such run. Raises what MLflow raises, and StoreError for
    what needs a person. `alive` is called after each call of the store, `say` with what a person should read.
    """

    def __init__(self, folder: Path, uri: str, *, alive: Callable[[], None], say: Callable[[str], None]) -> None:
        self._folder, self._uri, self._say = folder, uri, say
        self._config = read_config(folder)
        # Creating the same sqlite database from two processes at once fails in mlflow's migrations.
        with exclusive(folder.parent / ".mlflow.lock"):
            self._client: Any = Watched(open_client(uri), alive)
        self._experiment_id = require_mlflow(self._client)
        self.run_id: str | None = self._find()
        self._is_ready = False
        self._rejected: set[str] = set()

    def send(self, records: list[Record]) -> None:
        """Send records of the journal: metrics with the time they were measured, and, behind the last one, what the run made."""
        from mlflow.entities import Metric

        points = list(_points(records))
        if not self._is_ready:
            self._prepare()
            stored = self._stored({name for name, *_ in points})  # by an attempt whose answer was lost
            points = [point for point in points if _key(point) not in stored]
            self._is_ready = True
        self._log([Metric(name, value, time, step) for name, step, value, time in points])
        if records[-1].kind == "end":
            self._verify()
            self._finish(records[-1].status or "FINISHED", records[-1].time)

    def _log(self, metrics: list[Any]) -> None:
        for first in range(0, len(metrics), _METRICS_A_BATCH):
            self._client.log_batch(self.run_id, metrics=metrics[first : first + _METRICS_A_BATCH])

    def _stored(self, names: Iterable[str]) -> set[tuple[str, int, int]]:
        """Name, step and time of the points that the store has of some metrics."""
        known = self._client.get_run(self.run_id).data.metrics
        present = sorted(set(names) & set(known))
        return {(name, m.step, m.timestamp) for name in present for m in self._client.get_metric_history(self.run_id, name)}

    def _verify(self) -> None:
        """Compare all points with the journal, and send once more what is missing. Raises StoreError if that does not help."""
        from mlflow.entities import Metric

        points = list(_points(read_records(self._folder / JOURNAL, 0)[0]))
        names = {name for name, *_ in points}
        for attempt in ("send", "fail"):
            stored = self._stored(names)
            missing = [point for point in points if _key(point) not in stored]
            if missing and attempt == "fail":
                raise StoreError(f"the store confirmed {len(missing)} of {len(points)} points that it does not have")
            self._log([Metric(name, value, time, step) for name, step, value, time in missing])

    def _finish(self, status: str, time: int) -> None:
        """Send files, model and tags, then the status; all of it is read back."""
        files = {
            name: self._folder / name for name in (RESULT_FILE, WEIGHTS, CONFIG, CERTIFICATE) if (self._folder / name).exists()
        }
        if read_result(self._folder) is not None:
            draw_figures(self._folder, self._folder / FIGURES)
            files |= {f"{FIGURES}/{path.name}": path for path in (self._folder / FIGURES).iterdir()}
        for place, path in files.items():
            self._client.log_artifact(self.run_id, str(path), place.rpartition("/")[0] or None)
        require_files(files, lambda place: self._client.list_artifacts(self.run_id, place))
        if read_result(self._folder) is not None:
            self._log_model()
        final = self._final_tags()
        for name, value in final.items():
            self._client.set_tag(self.run_id, name, value)
        self._client.set_terminated(self.run_id, status, end_time=time)
        run = self._client.get_run(self.run_id)
        lacking = [*self._undescribed(run), *(name for name, value in final.items() if run.data.tags.get(name) != value)]
        if run.info.status != status:
            lacking.append(f"the status {status}")
        if lacking:
            raise StoreError(f"the store confirmed what it does not have: {', '.join(lacking[:5])}")

    def _log_model(self) -> None:
        """Export the network, log and register it, once. What cannot be done is in the log and in a tag, and the run goes on."""
        from mgnet_train.tracking.export import export_model, log_exported_model, register_model

        if self._tag(MODEL_TAG) is None:
            with tempfile.TemporaryDirectory() as scratch:
                archive = Path(scratch) / "model"
                try:
                    export_model(self._folder, self._config, archive)
                except OSError:
                    raise
                except Exception as error:  # torch.export raises many kinds
                    return self._give_up(MODEL_TAG, error)
                run = self._client.get_run(self.run_id)
                self._do(MODEL_TAG, lambda: log_exported_model(self._client, run, archive, self._config))
        address = self._tag(MODEL_TAG)
        if address is not None and self._tag(REGISTERED_TAG) is None:
            run_id = str(self.run_id)
            self._do(REGISTERED_TAG, lambda: register_model(self._client, address, self._config, run_id=run_id, uri=self._uri))
        return None

    def _tag(self, name: str) -> str | None:
        """What an earlier attempt wrote when it succeeded."""
        value: str | None = self._client.get_run(self.run_id).data.tags.get(name)
        return None if value is None or value.startswith(_FAILED) else value

    def _do(self, tag: str, work: Callable[[], str]) -> None:
        """Keep the answer in the tag, or the reason why this store will never give one; raises what may pass."""
        from mlflow.exceptions import MlflowException

        try:
            answer = work()
        except MlflowException as error:
            if error.error_code not in _FINAL:
                raise
            self._give_up(tag, error)
        else:
            self._client.set_tag(self.run_id, tag, answer)

    def _give_up(self, tag: str, error: Exception) -> None:
        reason = f"{_FAILED}{in_one_line(error, self._uri)})"
        self._client.set_tag(self.run_id, tag, reason)
        self._say(f"{self._folder.name}: {tag} is {reason}")

    def _final_tags(self) -> dict[str, str]:
        ends = [record for record in read_records(self._folder / JOURNAL, 0)[0] if record.kind == "end"]
        exact = {"mgnet.resume_exact": str(all(record.metrics.get(IS_EXACT) for record in ends)).lower()}
        certificate = read_json(self._folder / CERTIFICATE)
        return exact | ({"mgnet.certificate": certificate["status"]} if "status" in certificate else {})

    def _find(self) -> str | None:
        """The run by the id in the link file, else by its tag; None when there is none. Raises StoreError when it was deleted."""
        run = self._linked() or self._tagged()
        if run is None:
            return None
        run_id: str = run.info.run_id
        if run.info.lifecycle_stage == "deleted":
            raise StoreError(f"run {run_id} was deleted in MLflow: `mlflow runs restore --run-id {run_id}`, then sync again")
        return run_id

    def _linked(self) -> Any:
        from mlflow.exceptions import MlflowException

        run_id = read_json(self._folder / LINK).get("run_id")
        if not isinstance(run_id, str) or not run_id:
            return None
        try:
            run = self._client.get_run(run_id)
        except MlflowException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):  # another store, or a damaged file
                return None
            raise
        if run.info.run_id != run_id:
            raise StoreError(_FOREIGN)
        return run if run.data.tags.get(RUN_ID_TAG) == self._config["run_id"] else None

    def _tagged(self) -> Any:
        from mlflow.entities import ViewType

        if self._experiment_id is None:
            return None
        wanted = f"tags.`{RUN_ID_TAG}` = '{self._config['run_id']}'"
        found = self._client.search_runs(
            [self._experiment_id], wanted, run_view_type=ViewType.ALL, max_results=1, order_by=["attributes.start_time ASC"]
        )
        return found[0] if found else None

    def _prepare(self) -> None:
        """Make the run if there is none, and describe it; an attempt that failed half-way is continued."""
        with exclusive(self._folder.parent / ".mlflow.lock"), once():
            if self.run_id is None:
                self.run_id = self._create()
        self._describe()
        self._client.update_run(self.run_id, status="RUNNING")

    def _create(self) -> str:
        config = self._config
        run = self._client.create_run(
            self._experiment(), start_time=config["started_ms"], tags=tags(config), run_name=self._folder.name[:_NAME_LENGTH]
        )
        if not run.info.run_id:
            raise StoreError(_FOREIGN)
        return str(run.info.run_id)

    def _experiment(self) -> str:
        if self._experiment_id is None:
            self._experiment_id = require_mlflow(self._client)  # another first start may have made it meanwhile
        if self._experiment_id is None:
            location = (self._folder.parent.resolve() / "mlartifacts").as_uri() if is_default() else None
            name = experiment_name()
            self._experiment_id = self._client.create_experiment(name, artifact_location=location, tags=EXPERIMENT_TAGS)
        return self._experiment_id

    def _describe(self) -> None:
        """Log what the store lacks of parameters and data set."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        lacking = self._undescribed(self._client.get_run(self.run_id))
        params = {name: value for name, value in parameters(self._config).items() if name in lacking}
        names = sorted(params)
        for first in range(0, len(names), _PARAMETERS_A_BATCH):
            self._log_parameters({name: params[name] for name in names[first : first + _PARAMETERS_A_BATCH]})
        if _DATA_SET in lacking:
            entity = Dataset(**dataset(self._config))
            self._client.log_inputs(self.run_id, [DatasetInput(entity, [InputTag("mlflow.data.context", "training and test")])])

    def _undescribed(self, run: Any) -> list[str]:
        """The parameters, and the data set, that MLflow's run lacks."""
        known = run.data.params.keys() | self._rejected
        return [name for name in parameters(self._config) if name not in known] + ([] if run.inputs.dataset_inputs else [_DATA_SET])

    def _log_parameters(self, params: dict[str, str]) -> None:
        """Log parameters; an older server takes shorter values, and one that it rejects does not keep the others out."""
        from mlflow.entities import Param
        from mlflow.exceptions import MlflowException

        try:
            self._client.log_batch(self.run_id, params=[Param(name, value) for name, value in params.items()])
        except MlflowException as error:
            if error.error_code != "INVALID_PARAMETER_VALUE":
                raise
            if len(params) > 1:
                before = len(self._rejected)
                for name, value in params.items():
                    self._log_parameters({name: value})
                if len(self._rejected) - before == len(params):
                    raise  # not one of them: what answers has other reasons
                return
            ((name, value),) = params.items()
            if len(value) > _SHORT_VALUE:
                self._log_parameters({name: value[:_SHORT_VALUE]})
                return
            self._rejected.add(name)
            self._say(f"{self._folder.name}: MLflow rejects parameter {name} ({in_one_line(error, self._uri)})")


def require_files(files: dict[str, Path], listed: Callable[[str | None], list[Any]]) -> None:
    """Raise StoreError for a file (its place in the store, and where it is here) that the store does not list in its size."""
    folders = {place.rpartition("/")[0] for place in files}
    sizes = {file.path: file.file_size for folder in folders for file in listed(folder or None)}
    for place, path in files.items():
        if sizes.get(place, -1) not in (None, path.stat().st_size):  # not every store knows sizes
            raise StoreError(f"the store confirmed {place} and does not have it whole")


def open_client(uri: str) -> Any:
    """MLflow's client for an address. Raises what MLflow raises, and StoreError for a database that only lives in memory."""
    from mlflow.tracking import MlflowClient

    _look_at_database(uri)
    return MlflowClient(uri)


def require_mlflow(client: Any) -> str | None:
    """The id of the experiment, None when there is none. Raises what MLflow raises, and StoreError when that is not MLflow."""
    with first_contact():
        client.search_experiments(max_results=1)  # of any other server the answer is an error, or empty
        experiment = client.get_experiment_by_name(experiment_name())
    if experiment is None:
        return None
    if not experiment.experiment_id:
        raise StoreError(_FOREIGN)
    if experiment.lifecycle_stage == "deleted":
        restore = f"mlflow experiments restore --experiment-id {experiment.experiment_id}"
        raise StoreError(f"experiment {experiment_name()!r} was deleted in MLflow: `{restore}`, or set MLFLOW_EXPERIMENT_NAME")
    return str(experiment.experiment_id)


def _look_at_database(uri: str) -> None:
    """Open a database as MLflow does, once: MLflow itself would try a damaged or absent one for two minutes."""
    from mlflow.store.db.db_types import DATABASE_ENGINES, SQLITE
    from mlflow.store.db.utils import create_sqlalchemy_engine
    from mlflow.utils.uri import get_uri_scheme

    if get_uri_scheme(uri) not in DATABASE_ENGINES:
        return
    engine = create_sqlalchemy_engine(uri)
    is_sqlite = engine.dialect.name == SQLITE
    if is_sqlite and engine.url.database and not Path(engine.url.database).parent.is_dir():
        return  # MLflow makes the folder, or says why it cannot
    try:
        with engine.connect() as connection:
            if is_sqlite:
                ((_, _, file),) = connection.exec_driver_sql("PRAGMA database_list").all()
                if not file:
                    raise StoreError("an sqlite database in memory is gone with its process: name a file")
                connection.exec_driver_sql("SELECT count(*) FROM sqlite_master").all()
    finally:
        engine.dispose()


def _points(records: Iterable[Record]) -> Iterator[tuple[str, int, float, int]]:
    """Name, step, value and time of each point."""
    for record in records:
        if record.kind != "end":
            for name, value in record.metrics.items():
                yield name, record.step, value, record.time


def _key(point: tuple[str, int, float, int]) -> tuple[str, int, int]:
    name, step, _, time = point
    return name, step, time
