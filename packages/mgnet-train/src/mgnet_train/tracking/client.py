"""One run of ours as one MLflow run, found again by its id or by its tag. Only this file and export.py import mlflow.

Nothing here is called by a training process; the uploader calls it, beside the training or later.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from mgnet_records.files import write_json
from mgnet_records.run_result import RESULT_FILE
from mgnet_train.runs.folder import CERTIFICATE, CONFIG, WEIGHTS, read_config, read_json
from mgnet_train.runs.journal import IS_EXACT, JOURNAL, Record, read_records
from mgnet_train.runs.lock import exclusive
from mgnet_train.runs.result import read_result
from mgnet_train.tracking.figures import draw_figures
from mgnet_train.tracking.metadata import EXPERIMENT_TAGS, RUN_ID_TAG, dataset, parameters, tags

EXPERIMENT = "mgnet"
MODEL_TAG = "mgnet.exported_model"
REGISTERED_TAG = "mgnet.registered_model"
LINK = "mlflow.json"
FIGURES = "figures"
_FAILED = "none ("


class MlflowRun:
    """The MLflow run that belongs to a run folder; made on first use, under a lock that all first starts share.

    Its id is written to mlflow.json, the link file, and nowhere else in the folder.
    """

    def __init__(self, folder: Path, uri: str) -> None:
        quiet_mlflow()
        from mlflow.tracking import MlflowClient

        self._folder, self._uri = folder, uri
        self._config = read_config(folder)
        # Creating the same sqlite database from two processes at once fails in mlflow's migrations.
        with exclusive(folder.parent / ".mlflow.lock"):
            self._client = MlflowClient(uri)
            self.run_id = self._find(uri) or self._create(uri)
            self._describe()
        write_json(folder / LINK, {"run_id": self.run_id})
        self._client.update_run(self.run_id, status="RUNNING")

    def send(self, records: list[Record]) -> None:
        """Send metrics with the time they were measured; the store keeps one copy of what is sent twice."""
        from mlflow.entities import Metric

        metrics = [Metric(name, value, r.time, r.step) for r in records for name, value in r.metrics.items()]
        for first in range(0, len(metrics), 900):
            self._client.log_batch(self.run_id, metrics=metrics[first : first + 900])

    def finish(self, status: str, time: int) -> None:
        """Send what the run produced, then its status."""
        for name in (RESULT_FILE, WEIGHTS, CONFIG, CERTIFICATE):
            if (self._folder / name).exists():
                self._client.log_artifact(self.run_id, str(self._folder / name))
        if read_result(self._folder) is not None:
            draw_figures(self._folder, self._folder / FIGURES)
            self._client.log_artifacts(self.run_id, str(self._folder / FIGURES), FIGURES)
            self._log_model()
        for name, value in self._final_tags().items():
            self._client.set_tag(self.run_id, name, value)
        self._client.set_terminated(self.run_id, status, end_time=time)

    def _log_model(self) -> None:
        """Export and register the network, once. If that fails, the error is in the log and in the tag; the run is not affected."""
        from mgnet_train.tracking.export import log_exported_model, register_model

        address = self._once(
            MODEL_TAG, lambda: log_exported_model(self._folder, self._folder / WEIGHTS, run_id=self.run_id, uri=self._uri)
        )
        if address is not None:
            self._once(REGISTERED_TAG, lambda: register_model(self._folder, address, run_id=self.run_id, uri=self._uri))

    def _once(self, tag: str, work: Callable[[], str]) -> str | None:
        """Run `work` once and keep what it returns in the tag. On failure, log the error, keep it in the tag, and return None."""
        known: str | None = self._client.get_run(self.run_id).data.tags.get(tag)
        if known is not None and not known.startswith(_FAILED):
            return known
        try:
            answer = work()
        except Exception as error:  # torch.export and the store raise many kinds
            reason = f"{_FAILED}{type(error).__name__}: {' '.join(str(error).split())[:400]})"
            print(f"{self._folder.name}: {tag} is {reason}", flush=True)
            self._client.set_tag(self.run_id, tag, reason)
            return None
        self._client.set_tag(self.run_id, tag, answer)
        return answer

    def _final_tags(self) -> dict[str, str]:
        ends = [record for record in read_records(self._folder / JOURNAL, 0)[0] if record.kind == "end"]
        exact = {"mgnet.resume_exact": str(all(record.metrics.get(IS_EXACT) for record in ends)).lower()}
        certificate = read_json(self._folder / CERTIFICATE)
        return exact | ({"mgnet.certificate": certificate["status"]} if "status" in certificate else {})

    def _find(self, uri: str) -> str | None:
        """The run by the id in the link file, else by its tag."""
        from mlflow.exceptions import MlflowException

        with suppress(OSError, ValueError, KeyError, MlflowException):
            run_id: str = json.loads((self._folder / LINK).read_text(encoding="utf-8"))["run_id"]
            self._client.get_run(run_id)
            return run_id
        experiment = self._client.get_experiment_by_name(EXPERIMENT)
        if experiment is None:
            return None
        found = self._client.search_runs(
            [experiment.experiment_id], f"tags.`{RUN_ID_TAG}` = '{self._config['run_id']}'", max_results=1
        )
        return found[0].info.run_id if found else None

    def _create(self, uri: str) -> str:
        config = self._config
        run = self._client.create_run(
            self._experiment(uri), start_time=config["started_ms"], tags=tags(config), run_name=self._folder.name
        )
        return run.info.run_id

    def _describe(self) -> None:
        """Log parameters, then the data set; if that is there, an earlier attempt was complete."""
        from mlflow.entities import Param

        if self._client.get_run(self.run_id).inputs.dataset_inputs:
            return
        self._client.log_batch(self.run_id, params=[Param(k, v) for k, v in parameters(self._config).items()])
        self._log_dataset(self.run_id)

    def _experiment(self, uri: str) -> str:
        experiment = self._client.get_experiment_by_name(EXPERIMENT)
        if experiment is not None:
            return experiment.experiment_id
        ours = uri.startswith("sqlite") and "MLFLOW_TRACKING_URI" not in os.environ
        location = (self._folder.parent.resolve() / "mlartifacts").as_uri() if ours else None
        return self._client.create_experiment(EXPERIMENT, artifact_location=location, tags=EXPERIMENT_TAGS)

    def _log_dataset(self, run_id: str) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        entity = Dataset(**dataset(self._config))
        self._client.log_inputs(run_id, [DatasetInput(entity, [InputTag("mlflow.data.context", "training and test")])])


def quiet_mlflow() -> None:
    """No telemetry, no waiting inside mlflow, no chatter. Must come before the first import of mlflow."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow").setLevel(logging.WARNING)
