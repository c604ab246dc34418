"""MLflow gets every metric once, whatever happens to it, and never holds up the training."""

from __future__ import annotations

import json
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mgnet_train import Execution, Options, RunSpec, fit
from mgnet_train.runs.journal import JOURNAL, Journal, read_records
from mgnet_train.tracking.calls import quiet_mlflow
from mgnet_train.tracking.uploader import Uploader, unsent
from mgnet_train.tracking.worker import Sender
from mgnet_train.train.distributed import Processes
from mlflow_server import mlflow_server

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")  # mlflow's use of sqlalchemy

Start = Callable[[Callable[[], int]], Any]


def _client(uri: str) -> Any:
    quiet_mlflow()
    from mlflow.tracking import MlflowClient

    return MlflowClient(uri)


def _sent(uri: str, folder: Path) -> list[tuple[str, int, float, int]]:
    """Every point that the store has of the folder's run."""
    client, run_id = _client(uri), json.loads((folder / "mlflow.json").read_text())["run_id"]
    names = client.get_run(run_id).data.metrics
    return sorted((name, m.step, m.value, m.timestamp) for name in names for m in client.get_metric_history(run_id, name))


def _written(folder: Path) -> list[tuple[str, int, float, int]]:
    return sorted(
        (name, record.step, value, record.time)
        for record in read_records(folder / JOURNAL, 0)[0]
        if record.kind != "end"
        for name, value in record.metrics.items()
    )


def test_a_store_that_fails_after_storing_gets_every_point_once(
    tiny_spec: Callable[..., RunSpec], quietly: Options, one_process: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fit(tiny_spec(), quietly, one_process).folder
    uploader = Uploader(folder, Sender())
    from mgnet_train.tracking.client import MlflowRun

    send = MlflowRun.send

    def stores_and_fails(self: MlflowRun, records: Any) -> None:
        send(self, records)
        raise ConnectionError("the answer was lost")

    with monkeypatch.context() as patch:
        patch.setattr(MlflowRun, "send", stores_and_fails)
        with pytest.raises(ConnectionError):
            uploader.send_new()
    assert unsent(folder)
    Uploader(folder, Sender()).send_new()
    assert not unsent(folder)
    assert _sent(f"sqlite:///{quietly.runs / 'mlflow.db'}", folder) == _written(folder)
    assert {path.name for path in (folder / "figures").iterdir()} == {"curves.png", "confusion.png"}


def test_writing_a_metric_takes_far_less_than_50_ms(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    seconds = []
    for step in range(2000):
        begin = time.perf_counter()
        journal.log("step", step, {"train/step_loss": 1.0, "train/lr": 0.1})
        seconds.append(time.perf_counter() - begin)
    journal.close()
    assert statistics.median(seconds) < 0.001
    assert sorted(seconds)[-3] < 0.05  # two of 2000 may meet a busy machine


def test_a_server_that_is_not_there_costs_no_metric_and_the_run_is_sent_later(
    tiny_spec: Callable[..., RunSpec], quietly: Options, one_process: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", address)
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        folder = fit(tiny_spec(), quietly, one_process).folder
        with pytest.raises(Exception, match=r"Failed to establish|Max retries|refused"):
            Uploader(folder, Sender()).send_new()
    assert unsent(folder)
    Uploader(folder, Sender()).send_new()
    assert _sent(f"sqlite:///{quietly.runs / 'mlflow.db'}", folder) == _written(folder)


def test_a_store_that_fails_between_the_run_and_its_description_gets_the_description_later(
    tiny_spec: Callable[..., RunSpec], quietly: Options, one_process: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fit(tiny_spec(epochs="1"), quietly, one_process).folder
    uploader = Uploader(folder, Sender())
    from mlflow.tracking import MlflowClient

    def fails(*_: Any) -> None:
        raise ConnectionError("the store is gone")

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_inputs", fails)
        with pytest.raises(ConnectionError):
            uploader.send_new()
    uploader.send_new()
    client = _client(f"sqlite:///{quietly.runs / 'mlflow.db'}")
    [only] = client.search_runs([client.get_experiment_by_name("mgnet").experiment_id])
    assert only.info.run_id == json.loads((folder / "mlflow.json").read_text())["run_id"]
    assert only.data.params["recipe.batch_size"] == "256"
    [data] = only.inputs.dataset_inputs
    assert (data.dataset.name, json.loads(data.dataset.profile)) == ("digits", {"train_images": 1437, "test_images": 360})


@pytest.mark.nightly
def test_the_exported_model_loads_where_this_project_cannot_be_imported_and_takes_any_number_of_images(
    tiny_spec: Callable[..., RunSpec], quietly: Options, one_process: Processes
) -> None:
    outcome = fit(tiny_spec(execution=Execution(form="feature")), quietly, one_process)
    Uploader(outcome.folder, Sender()).send_new()
    uri = f"sqlite:///{quietly.runs / 'mlflow.db'}"
    run_id = json.loads((outcome.folder / "mlflow.json").read_text())["run_id"]
    address = _client(uri).get_run(run_id).data.tags["mgnet.exported_model"]
    code = (
        "import sys; sys.modules |= {'mgnet_models': None, 'mgnet_train': None, 'timm': None}\n"
        "import mlflow.pytorch, torch; mlflow.set_tracking_uri(sys.argv[1])\n"
        "model = mlflow.pytorch.load_model(sys.argv[2])\n"
        "print(tuple(model(torch.zeros(5, 1, 8, 8)).shape), sum(p.numel() for p in model.parameters()))"
    )
    call = [sys.executable, "-c", code, uri, address]
    done = subprocess.run(call, capture_output=True, text=True, check=False, timeout=300)
    assert done.stdout.strip() == f"(5, 10) {outcome.result.parameters}", done.stderr


def test_a_network_that_cannot_be_exported_is_reported_in_the_log_and_a_tag_and_the_run_is_not_affected(
    tiny_spec: Callable[..., RunSpec],
    quietly: Options,
    one_process: Processes,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    outcome = fit(tiny_spec(epochs="1"), quietly, one_process)

    def refuse(*_: Any, **__: Any) -> None:
        raise RuntimeError("this graph\nbreaks")

    monkeypatch.setattr("torch.export.export", refuse)
    journal = Journal(outcome.folder)
    journal.end("FINISHED", is_exact=False)
    journal.close()
    Uploader(outcome.folder, Sender()).send_new()
    told = [line for line in capsys.readouterr().out.splitlines() if "exported" in line]
    assert told == [f"{outcome.folder.name}: mgnet.exported_model is none (RuntimeError: this graph breaks)"]
    client = _client(f"sqlite:///{quietly.runs / 'mlflow.db'}")
    run = client.get_run(json.loads((outcome.folder / "mlflow.json").read_text())["run_id"])
    assert run.info.status == "FINISHED"
    assert not client.search_logged_models([run.info.experiment_id])
    assert not run.outputs.model_outputs
    assert "mgnet.registered_model" not in run.data.tags
    assert run.data.tags["mgnet.exported_model"] == "none (RuntimeError: this graph breaks)"
    assert run.data.tags["mgnet.resume_exact"] == "false"


@pytest.mark.nightly
def test_four_first_starts_on_a_new_database_all_succeed(
    tiny_spec: Callable[..., RunSpec], quietly: Options, one_process: Processes, child: Start
) -> None:
    folders = [fit(tiny_spec(seed=seed, epochs="1"), quietly, one_process).folder for seed in range(4)]

    def send(folder: Path) -> Callable[[], int]:
        command = (
            "import sys; from pathlib import Path; from mgnet_train.tracking.uploader import Uploader; "
            "from mgnet_train.tracking.worker import Sender; Uploader(Path(sys.argv[1]), Sender()).send_new()"
        )
        return lambda: subprocess.run([sys.executable, "-c", command, str(folder)], check=False, timeout=500).returncode

    assert [one.wait(seconds=600) for one in [child(send(folder)) for folder in folders]] == [0, 0, 0, 0]
    for folder in folders:
        assert _sent(f"sqlite:///{quietly.runs / 'mlflow.db'}", folder) == _written(folder)


@pytest.mark.nightly
def test_a_real_server_that_dies_in_the_middle_and_comes_back_has_every_point_once(
    tmp_path: Path, tiny_spec: Callable[..., RunSpec], quietly: Options, one_process: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = tiny_spec(epochs="40")
    with mlflow_server(tmp_path) as port:
        uri = f"http://127.0.0.1:{port}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        begin = time.monotonic()
        alone = fit(replace(spec, seed=9), quietly, one_process)
        undisturbed = time.monotonic() - begin
    begin = time.monotonic()
    end = fit(spec, replace(quietly, allow_unreachable_store=True), one_process)
    assert time.monotonic() - begin < 2 * undisturbed + 5
    with mlflow_server(tmp_path, port=port):
        for folder in (alone.folder, end.folder):
            Uploader(folder, Sender()).send_new()
            assert _sent(uri, folder) == _written(folder)
