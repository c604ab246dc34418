"""A proxy with faults in front of a real MLflow server: nothing is lost, nothing is there twice, and a fault is one line."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mgnet_train import Options, RunSpec, fit, start_processes
from mgnet_train.runs.folder import read_config
from mgnet_train.tracking.calls import in_one_line
from mgnet_train.tracking.store import LINK, Store
from mgnet_train.tracking.uploader import Uploader, sync_all, unsent
from mgnet_train.tracking.worker import Sender
from mlflow_server import (
    Fault,
    FaultProxy,
    close,
    cut_answer,
    hang,
    lose_answer,
    mlflow_server,
    postgres_cluster,
    postgres_programs,
    slow,
    status,
    twice,
)
from train.tracked import Points, change_config, points_sent, points_written, stopped_run, twin

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")  # mlflow's use of sqlalchemy

Where = Callable[[str, str, bytes], bool]

HTML = b"<html><head><title>Sorry</title></head>\n<body>\n<h1>The service is resting</h1></body></html>"
# Everything that answers in an MLflow server's place, or takes an answer away.
FAULTS: dict[str, Fault] = {
    "401": status(401, b"who are you?", "text/plain", WWW_Authenticate='Basic realm="mlflow"'),
    "403": status(403, HTML),
    "404": status(404, HTML),
    "405": status(405, HTML),
    "413": status(413, b"<html>413 Request Entity Too Large</html>"),
    "429": status(429, b"slow down", "text/plain", Retry_After="1"),
    "500": status(500, HTML),
    "500 as JSON": status(500, b'{"error_code": "INTERNAL_ERROR", "message": "boom"}', "application/json"),
    "502": status(502, HTML),
    "503": status(503, HTML, Retry_After="1"),
    "HTML": status(200, HTML),
    "empty": status(200),
    "foreign JSON": status(200, b'{"jsonrpc": "2.0", "result": [1, 2]}', "application/json"),
    "a list": status(200, b"[1, 2, 3]", "application/json"),
    "bytes": status(200, bytes(range(256)), "application/octet-stream"),
    "redirect to itself": status(302, Location="/api/2.0/mlflow/experiments/search"),
    "redirect to nothing": status(301, Location="http://127.0.0.1:9/"),
    "close": close,
    "answer lost": lose_answer,
    "answer cut": cut_answer,
    "hang": hang,
    "twice": twice,
}
PASSWORD = "a-password-of-the-test"
QUICK = ("401", "HTML", "answer lost", "hang")
# The requests that meet a fault.
PLACES: dict[str, Where] = {
    "everything": lambda method, path, body: True,
    "the experiment": lambda method, path, body: "/experiments/create" in path,
    "the run": lambda method, path, body: "/runs/create" in path,
    "parameters": lambda method, path, body: "/runs/log-batch" in path and b'"params": [{' in body,
    "metrics": lambda method, path, body: "/runs/log-batch" in path and b'"metrics": [{' in body,
    "artifacts": lambda method, path, body: method == "PUT",
    "the end": lambda method, path, body: "/runs/update" in path and b"KILLED" in body,
}


def client_of(uri: str) -> Any:
    from mlflow.tracking import MlflowClient

    return MlflowClient(uri)


def sent(uri: str, folder: Path) -> Points:
    return points_sent(client_of(uri), folder)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stopped_run(tmp_path_factory.mktemp("trained"))


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    """The stopped run under a run id of its own, so that each test has its own run in MLflow."""
    return twin(trained, uuid.uuid4().int, tmp_path / "runs" / "stopped")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with mlflow_server(tmp_path_factory.mktemp("server")) as port:
        yield port


@contextmanager
def _proxy(port: int, test: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    """The proxy, where MLflow's variable points, with an experiment of its own."""
    one = FaultProxy(port)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{one.port}")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", f"experiment of {test.name}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    yield one
    one.close()


@pytest.fixture
def proxy(server: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FaultProxy]:
    with _proxy(server, tmp_path, monkeypatch) as one:
        yield one


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with postgres_cluster(PASSWORD) as uri:
        yield uri


@pytest.fixture(scope="module")
def postgres_server(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    pytest.importorskip("psycopg", reason="MLflow's driver for PostgreSQL is not installed")
    with mlflow_server(tmp_path_factory.mktemp("postgres"), postgres) as port:
        yield port


def breaks_and_heals(proxy: FaultProxy, folder: Path, fault: str, place: str, times: int = 1 << 30) -> str:
    """Send through a broken proxy, then through a sound one; the line that the first attempt gave, empty for none."""
    uri, line = f"http://127.0.0.1:{proxy.port}", ""
    proxy.break_down(FAULTS[fault], where=PLACES[place], times=times)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1" if fault == "hang" else "60")
        try:
            Uploader(folder, Sender()).send_new()
        except Exception as error:
            line = in_one_line(error, uri)
    met = proxy.met
    proxy.heal()
    Uploader(folder, Sender()).send_new()
    assert met > 0
    assert not unsent(folder)
    assert sent(uri, folder) == points_written(folder)
    client = client_of(uri)
    [experiment] = [one for one in client.search_experiments() if one.name == f"experiment of {folder.parents[1].name}"]
    [run] = client.search_runs([experiment.experiment_id])
    assert run.info.status == "KILLED"
    assert run.data.params["recipe.batch_size"] == "256"
    assert {file.path for file in client.list_artifacts(run.info.run_id)} >= {"config.json"}
    return line


@pytest.mark.parametrize("fault", [one if one in QUICK else pytest.param(one, marks=pytest.mark.nightly) for one in FAULTS])
def test_a_server_behind_a_fault_gets_all_of_a_run_once_it_answers_again(proxy: FaultProxy, folder: Path, fault: str) -> None:
    line = breaks_and_heals(proxy, folder, fault, "everything")
    assert line
    assert "\n" not in line
    assert len(line) < 620


@pytest.mark.nightly
@pytest.mark.parametrize("place", [place for place in PLACES if place != "everything"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_at_one_kind_of_request_loses_and_doubles_nothing(proxy: FaultProxy, folder: Path, fault: str, place: str) -> None:
    if (fault, place) == ("twice", "the run"):
        pytest.skip("a proxy that repeats what makes a run makes two, and nobody can tell which one its client is told of")
    assert "\n" not in breaks_and_heals(proxy, folder, fault, place)


def test_a_server_of_an_older_mlflow_gets_long_parameters_cut_and_says_which_it_rejects(
    proxy: FaultProxy, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change_config(folder, recipe=read_config(folder)["recipe"] | {"long": "x" * 700, "cursed": "a cursed value"})
    answer = (
        b'{"error_code": "INVALID_PARAMETER_VALUE", "message": "Param value had length 700, which exceeded length limit of 500"}'
    )
    proxy.break_down(
        status(400, answer, "application/json"),
        where=lambda _, path, body: "log-batch" in path and (b"x" * 501 in body or b"cursed" in body),
    )
    Uploader(folder, Sender()).send_new()
    proxy.heal()
    assert "MLflow rejects parameter recipe.cursed" in capsys.readouterr().out
    uri = f"http://127.0.0.1:{proxy.port}"
    params = client_of(uri).get_run(json.loads((folder / LINK).read_text())["run_id"]).data.params
    assert params["recipe.long"] == "x" * 250
    assert "recipe.cursed" not in params
    assert sent(uri, folder) == points_written(folder)


@pytest.mark.nightly
@pytest.mark.skipif(postgres_programs() is None, reason="PostgreSQL (Debian's postgresql) is not installed")
@pytest.mark.parametrize("fault", FAULTS)
def test_postgresql_behind_a_server_gets_all_of_a_run_once(
    postgres_server: int, folder: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    with _proxy(postgres_server, folder.parents[1], monkeypatch) as proxy:
        breaks_and_heals(proxy, folder, fault, "metrics", times=1)


@pytest.mark.nightly
@pytest.mark.skipif(postgres_programs() is None, reason="PostgreSQL (Debian's postgresql) is not installed")
def test_postgresql_itself_is_a_store_and_a_wrong_password_is_one_line(
    postgres: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("psycopg", reason="MLflow's driver for PostgreSQL is not installed")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", postgres)
    Uploader(folder, Sender()).send_new()
    assert sent(postgres, folder) == points_written(folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", postgres.replace(PASSWORD, "another-secret"))
    with pytest.raises(Exception, match="password authentication failed") as caught:
        Uploader(folder, Sender()).send_new()
    line = in_one_line(caught.value, postgres.replace(PASSWORD, "another-secret"))
    assert "another-secret" not in line
    assert "\n" not in line


@pytest.mark.nightly
@pytest.mark.parametrize("fault", [slow, hang])
def test_a_server_that_is_slow_for_ever_or_hangs_is_given_up_at_the_deadline_and_the_next_run_is_sent(
    proxy: FaultProxy, folder: Path, fault: Fault
) -> None:
    """One byte a second defeats every time-out of a client; the child is ended, and a new one sends the next run."""
    second = twin(folder, uuid.uuid4().int, folder.with_name("stopped-second"))
    lines: list[str] = []
    with Store(folder.parent, say=lines.append, call_seconds=20) as store:
        proxy.break_down(fault, where=PLACES["metrics"], times=1)
        assert sync_all([folder, second], store, lines.append) == 1
        assert lines == ["[1/2] stopped: FAILED, no answer within 20 s", "[2/2] stopped-second"]
        proxy.heal()
        assert sync_all([folder, second], store, lines.append) == 0
    for one in (folder, second):
        assert sent(f"http://127.0.0.1:{proxy.port}", one) == points_written(one)


@pytest.mark.nightly
def test_a_store_that_stops_answering_leaves_the_other_runs_for_later(proxy: FaultProxy, folder: Path) -> None:
    others = [twin(folder, uuid.uuid4().int, folder.with_name(f"stopped-{number}")) for number in range(3)]
    lines: list[str] = []
    with Store(folder.parent, say=lines.append, call_seconds=2) as store:
        store.check()
        proxy.break_down(slow)
        store_check = store.check
        store.check = lambda **_: store_check(seconds=3)  # type: ignore[method-assign]
        assert sync_all([folder, *others], store, lines.append) == 4
    assert lines[-1] == "the store does not answer any more (no answer within 3 s): 3 runs are left for later"


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")  # the uploader, which goes on by itself
def test_training_is_not_delayed_by_a_server_that_hangs(
    proxy: FaultProxy, tiny_spec: Callable[..., RunSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES")
    monkeypatch.setattr("mgnet_train.runs.run._UPLOADER_SECONDS", 5.0)
    options = Options(runs=tmp_path / "r", quiet=True, log_every=1)
    begin = time.monotonic()
    fit(tiny_spec(epochs="3"), replace(options, track="later"), start_processes("cpu"))
    alone = time.monotonic() - begin
    proxy.break_down(hang)
    begin = time.monotonic()
    outcome = fit(tiny_spec(epochs="3", seed=1), replace(options, allow_unreachable_store=True), start_processes("cpu"))
    assert time.monotonic() - begin < 2 * alone + 5 + 5
    assert not outcome.is_sent
    proxy.heal()
