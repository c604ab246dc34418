"""From a real MLflow store to records: one number from one source, and never a second time."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mgnet_leaderboard.cli import main
from mgnet_leaderboard.records.measured import Measured, Recipe, first_of_each_seed
from mgnet_leaderboard.refusal import RefusedError
from mgnet_leaderboard.run_result import RUN_RESULT, run_of
from mgnet_leaderboard.store.ingest import result_of
from mgnet_leaderboard.store.mlflow_check import FinishedRun

# mlflow 3.17 asks sqlalchemy 2.1 for a deprecated loader.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader:sqlalchemy.exc.SADeprecationWarning")

Json = dict[str, Any]
Result = Callable[..., Json]


class Store:
    """An MLflow store in a runs folder, filled the way a training run fills it."""

    def __init__(self, folder: Path) -> None:
        from mlflow import MlflowClient

        self.folder = folder
        self.client = MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")
        self.experiment = self.client.create_experiment(folder.parent.name, artifact_location=(folder / "files").as_uri())

    def add(self, content: Json, *, status: str = "FINISHED", artifact: bool = True, **logged: float) -> str:
        run = self.client.create_run(self.experiment)
        run_id: str = run.info.run_id
        content = {**content, "mlflow_run_id": run_id}
        for name in ("last", "best"):
            value = logged.get(name, 100 * content["test"][f"correct_{name}"] / content["test"]["n"])
            self.client.log_metric(run_id, f"test/accuracy_{name}", value)
        if artifact:
            self.client.log_dict(run_id, content, "result.json")
        own = self.folder / f"run-{run_id}"
        own.mkdir()
        (own / "result.json").write_text(json.dumps(content), encoding="utf-8")
        self.client.set_terminated(run_id, status)
        return run_id


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store without runs; making one takes seconds, copying it does not."""
    folder = tmp_path_factory.mktemp("mlflow") / "runs"
    folder.mkdir()
    return Store(folder).folder


@pytest.fixture
def store(empty_store: Path, tmp_path: Path) -> Store:
    """A store of one test."""
    shutil.copytree(empty_store, tmp_path / "runs")
    return Store(tmp_path / "runs")


def export(store: Store, into: Path) -> int:
    return main(["export", "--runs", str(store.folder), "--records", str(into)])


def test_seeds_of_one_identity_become_one_record_with_the_accuracy_that_mlflow_holds(
    store: Store, tmp_path: Path, result: Result
) -> None:
    ids = [store.add(result(seed, correct)) for seed, correct in ((1, 355), (0, 357))]
    store.add(result(2, 350, recipe={"name": "other", "sha256": "0" * 64, "values": {}}))
    assert export(store, tmp_path / "out") == 0
    records = [json.loads(path.read_text(encoding="utf-8")) for path in (tmp_path / "out" / "measured").iterdir()]
    assert sorted(len(record["runs"]) for record in records) == [1, 2]
    pair = next(record for record in records if len(record["runs"]) == 2)
    assert [run["mlflow_run_id"] for run in pair["runs"]] == [ids[1], ids[0]]
    logged = store.client.get_run(ids[1]).data.metrics["test/accuracy_last"]
    assert 100 * pair["runs"][0]["correct_last"] / pair["dataset"]["n"] == logged


def test_a_second_export_writes_nothing_and_a_new_seed_changes_one_file(
    store: Store, tmp_path: Path, result: Result, capsys: pytest.CaptureFixture[str]
) -> None:
    store.add(result(0, 357))
    export(store, tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.json")}
    capsys.readouterr()
    assert export(store, tmp_path / "out") == 0
    assert "0 written, 1 unchanged" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.json")}
    store.add(result(1, 355))
    export(store, tmp_path / "out")
    assert "1 written, 0 unchanged" in capsys.readouterr().out


def test_unfinished_runs_do_not_count_and_a_run_without_a_result_is_named(
    store: Store, tmp_path: Path, result: Result, capsys: pytest.CaptureFixture[str]
) -> None:
    store.add(result(0, 357), status="FAILED")
    bare = store.add(result(1, 357), artifact=False)
    assert export(store, tmp_path / "out") == 0
    out = capsys.readouterr().out
    assert f"left out: {bare}: finished without result.json" in out
    assert "0 written" in out


def test_a_result_that_differs_from_its_own_metric_is_refused_and_nothing_is_written(
    store: Store, tmp_path: Path, result: Result, refused: Callable[..., str]
) -> None:
    store.add(result(0, 357))
    store.add(result(1, 357), last=99.9)
    line = refused("export", "--runs", store.folder, "--records", tmp_path / "out")
    assert "test/accuracy_last is 99.9, but result.json has 357 of 360 right, which is 99.1667 %" in line
    assert not (tmp_path / "out").exists()


def test_submit_writes_one_run_under_the_contributors_name(store: Store, tmp_path: Path, result: Result) -> None:
    run_id = store.add(result(0, 357))
    store.add(result(1, 355))
    folder, out = store.folder / f"run-{run_id}", tmp_path / "out"
    arguments = ["submit", str(folder), "--contributor", "someone", "--link", "https://example.org/logs"]
    assert main([*arguments, "--records", str(out)]) == 0
    (path,) = (out / "measured").iterdir()
    record = json.loads(path.read_text(encoding="utf-8"))
    assert (record["contributor"], record["link"]) == ("someone", "https://example.org/logs")
    assert [run["mlflow_run_id"] for run in record["runs"]] == [run_id]


@pytest.mark.parametrize(
    "changes, options, reason",
    [
        ({"dirty": True}, [], "uncommitted changes"),
        ({"commit": None}, [], "names no commit"),
        ({}, ["--link", "javascript:alert(1)"], "link: String should match pattern"),
        ({}, ["--contributor", "a b"], "contributor: String should match pattern"),
    ],
)
def test_submit_refuses_what_the_check_would_refuse(
    store: Store, tmp_path: Path, result: Result, refused: Callable[..., str], changes: Json, options: list[str], reason: str
) -> None:
    run_id = store.add(result(0, 357, **changes))
    arguments = ["submit", store.folder / f"run-{run_id}", "--contributor", "someone", *options]
    assert reason in refused(*arguments, "--records", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_submit_refuses_a_result_file_edited_after_the_run(
    store: Store, tmp_path: Path, result: Result, refused: Callable[..., str]
) -> None:
    folder = store.folder / f"run-{store.add(result(0, 357))}"
    content = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    content["test"].update(correct_last=360, correct_best=360)
    (folder / "result.json").write_text(json.dumps(content), encoding="utf-8")
    line = refused("submit", folder, "--contributor", "someone", "--records", tmp_path / "out")
    assert "differs from the artifact of MLflow run" in line


@pytest.mark.parametrize(
    "content, reason",
    [(None, "holds no mlflow.db"), (b"", "is not an MLflow store"), (b"x" * 200, "is not a readable")],
)
def test_a_folder_without_a_readable_store_is_refused_and_left_as_it_is(
    tmp_path: Path, refused: Callable[..., str], content: bytes | None, reason: str
) -> None:
    if content is not None:
        (tmp_path / "mlflow.db").write_bytes(content)
    assert reason in refused("export", "--runs", tmp_path, "--records", tmp_path / "out")
    assert content is None or (tmp_path / "mlflow.db").read_bytes() == content


def test_the_first_finished_run_of_a_seed_counts_even_when_a_later_one_is_better(result: Result) -> None:
    early = result(0, 350, series="a", finished="2026-11-21T10:30:00Z")
    late = result(0, 360, series="b", finished="2026-11-21T10:30:00.5+00:00")
    runs = [run_of(RUN_RESULT.validate_json(json.dumps(one))) for one in (late, early)]
    assert [run.correct_last for run in first_of_each_seed(runs)] == [350]


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"mlflow_run_id": "b" * 32}, "is of run b"),
        ({"test": {"n": 100, "correct_last": 99, "correct_best": 99}}, "tested 100 of 360"),
    ],
)
def test_a_result_of_another_run_or_of_part_of_the_images_is_refused(
    write: Callable[..., Path], result: Result, changes: Json, reason: str
) -> None:
    path = write("result.json", {**result(0, 357, mlflow_run_id="a" * 32), **changes})
    run = FinishedRun(run_id="a" * 32, metrics={}, result=path)
    with pytest.raises(RefusedError, match=reason):
        result_of(run)


def test_runs_of_two_environments_are_two_records(measured: Callable[..., Measured], result: Result) -> None:
    other = {**result()["environment"], "threads": 1}
    assert measured().id != measured(environment=other).id


@pytest.mark.parametrize(
    ("name", "accepted"), [("digits", True), ("digits+", True), ("paper-v2+", True), ("di+gits", False), ("a/b", False)]
)
def test_a_recipe_with_fields_set_anew_keeps_its_plus(name: str, accepted: bool) -> None:
    values = {"name": name, "sha256": "0" * 64, "values": {}}
    if accepted:
        assert Recipe.model_validate(values).name == name
    else:
        with pytest.raises(ValueError, match="String should match pattern"):
            Recipe.model_validate(values)
