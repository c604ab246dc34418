"""From run folders to records: files are read directly, MLflow is asked only on request, and a bad run stops nothing."""

from __future__ import annotations

import json
import re
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mgnet_leaderboard.cli import main
from mgnet_leaderboard.records.measured import Measured, first_of_each_seed, seed_run
from mgnet_leaderboard.store.ingest import Findings, FinishedRun, cross_checked
from mgnet_leaderboard.store.mlflow_check import MlflowStore
from mgnet_records.errors import InputError
from mgnet_records.run_result import RUN_RESULT, RecipePart
from mlflow_server import free_port

# mlflow 3.17 asks sqlalchemy 2.1 for a deprecated loader.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader:sqlalchemy.exc.SADeprecationWarning")

Json = dict[str, Any]
Result = Callable[..., Json]
Rejected = Callable[..., str]


class Runs:
    """A folder of runs, filled the way training fills it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def add(self, content: Json | str | None, name: str = "") -> Path:
        """A run folder with this result.json; without one for a run that has not finished."""
        own = self.folder / (name or f"run-{content['run_id'] if isinstance(content, dict) else 'x'}")
        own.mkdir()
        (own / "config.json").write_text("{}", encoding="utf-8")
        if content is not None:
            text = content if isinstance(content, str) else json.dumps(content)
            (own / "result.json").write_text(text, encoding="utf-8")
        return own


class Store:
    """An MLflow store beside a folder of runs, filled the way the uploader fills it."""

    def __init__(self, runs: Runs) -> None:
        from mlflow import MlflowClient

        self.runs = runs
        self.uri = f"sqlite:///{runs.folder / 'mlflow.db'}"
        self.client = MlflowClient(tracking_uri=self.uri)
        files = (runs.folder / "files").as_uri()
        self.experiment = self.client.create_experiment(runs.folder.parent.name, artifact_location=files)

    def send(self, own: Path, *, status: str = "FINISHED", **logged: float) -> str:
        """Send a run; keyword arguments replace the accuracies that MLflow gets."""
        content = json.loads((own / "result.json").read_text(encoding="utf-8"))
        run_id: str = self.client.create_run(self.experiment).info.run_id
        for name in ("last", "best"):
            value = logged.get(name, 100 * content["test"][f"correct_{name}"] / content["test"]["n"])
            self.client.log_metric(run_id, f"test/accuracy_{name}", value)
        self.client.log_dict(run_id, content, "result.json")
        self.client.set_terminated(run_id, status)
        (own / "mlflow.json").write_text(json.dumps({"run_id": run_id}), encoding="utf-8")
        return run_id


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    """An empty folder of runs."""
    return Runs(tmp_path / "runs")


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store without runs; making one takes seconds, copying it does not."""
    return Store(Runs(tmp_path_factory.mktemp("mlflow") / "runs")).runs.folder


@pytest.fixture
def store(empty_store: Path, tmp_path: Path) -> Store:
    """A store of one test."""
    shutil.copytree(empty_store, tmp_path / "runs")
    return Store(Runs(tmp_path / "runs"))


def records_in(folder: Path) -> list[Json]:
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted((folder / "measured").iterdir())]


def test_seeds_of_one_identity_become_one_record(runs: Runs, tmp_path: Path, result: Result, recipe: Callable[..., Json]) -> None:
    ids = [result(seed)["run_id"] for seed in (0, 1)]
    for seed, correct in ((1, 355), (0, 357)):
        runs.add(result(seed, correct))
    runs.add(result(2, 350, recipe=recipe("other", lr=0.2)))
    assert main(["ingest", str(runs.folder), "--records", str(tmp_path / "out")]) == 0
    records = records_in(tmp_path / "out")
    assert sorted(len(record["runs"]) for record in records) == [1, 2]
    pair = next(record for record in records if len(record["runs"]) == 2)
    assert [run["run_id"] for run in pair["runs"]] == ids
    assert [run["correct_last"] for run in pair["runs"]] == [357, 355]


def test_a_second_ingest_writes_nothing_and_a_new_seed_changes_one_file(
    runs: Runs, tmp_path: Path, result: Result, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["ingest", str(runs.folder), "--records", str(tmp_path / "out")]
    runs.add(result(0, 357))
    main(arguments)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.json")}
    capsys.readouterr()
    assert main(arguments) == 0
    assert "0 written, 1 unchanged" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.json")}
    runs.add(result(1, 355))
    main(arguments)
    assert "1 written, 0 unchanged" in capsys.readouterr().out


def test_a_run_folder_its_result_file_and_a_copy_of_it_are_one_run(runs: Runs, tmp_path: Path, result: Result) -> None:
    own = runs.add(result(0, 357))
    copied = tmp_path / "copied.json"
    shutil.copy(own / "result.json", copied)
    paths = [own, own / "result.json", copied]
    assert main(["ingest", *map(str, paths), "--records", str(tmp_path / "out")]) == 0
    (record,) = records_in(tmp_path / "out")
    assert len(record["runs"]) == 1


def test_the_certificate_in_a_run_folder_is_taken_with_the_run(runs: Runs, tmp_path: Path, result: Result, report: Json) -> None:
    own = runs.add(result(0, 357))
    (own / "certificate.json").write_text(json.dumps(report), encoding="utf-8")
    assert main(["ingest", str(own), "--records", str(tmp_path / "out")]) == 0
    assert len(list((tmp_path / "out" / "verified").iterdir())) == 1


def part_of_mnist(result: Json) -> Json:
    """A run on 1,000 images that it calls all of MNIST."""
    result["dataset"].update(name="mnist", n=1000)
    result["test"].update(n=1000)
    return result


def test_a_run_that_cannot_be_taken_is_named_by_its_folder_and_the_others_are_taken(
    runs: Runs, tmp_path: Path, result: Result, capsys: pytest.CaptureFixture[str]
) -> None:
    runs.add(part_of_mnist(result(0, 357)), "a-part-of-mnist")
    runs.add({**result(1, 357), "seed": -1}, "negative-seed")
    runs.add({**result(2, 357), "parameters": 0}, "no-parameters")
    runs.add("{", "half-a-file")
    runs.add(None, "still-training")
    runs.add(result(3, 357), "sound")
    (runs.folder / "something-else").mkdir()
    assert main(["ingest", str(runs.folder), "--records", str(tmp_path / "out")]) == 0
    lines = capsys.readouterr().out.splitlines()
    left_out = {line.removeprefix("left out: ") for line in lines if line.startswith("left out: ")}
    reasons = {
        "a-part-of-mnist": "mnist has 10000 test images, not 1000",
        "negative-seed": "seed: Input should be greater than or equal to 0, got -1",
        "no-parameters": "parameters: Input should be greater than or equal to 1",
        "half-a-file": "not strict JSON",
        "still-training": "has no result.json; the run has not finished",
    }
    assert len(left_out) == len(reasons)
    for name, reason in reasons.items():
        assert any(line.startswith(str(runs.folder / name)) and reason in line for line in left_out), name
    (record,) = records_in(tmp_path / "out")
    assert [run["seed"] for run in record["runs"]] == [3]


def test_the_name_of_a_run_folder_need_not_be_utf_8(
    runs: Runs, tmp_path: Path, result: Result, capsys: pytest.CaptureFixture[str]
) -> None:
    runs.add("{", "broken-\udcff")
    runs.add(result(0, 357))
    assert main(["ingest", str(runs.folder), "--records", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    out.encode("utf-8")
    assert "broken-\\udcff" in out


def test_runs_of_which_none_can_be_taken_are_bad_input(runs: Runs, tmp_path: Path, rejected: Rejected) -> None:
    runs.add("{", "half-a-file")
    assert "no record was written: 1 left out" in rejected("ingest", runs.folder, "--records", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_without_runs_is_rejected(tmp_path: Path, rejected: Rejected) -> None:
    assert "holds no run" in rejected("ingest", tmp_path, "--records", tmp_path / "out")


def test_a_result_that_was_edited_after_it_was_counted_is_left_out(
    runs: Runs, tmp_path: Path, result: Result, rejected: Rejected
) -> None:
    own = runs.add(result(0, 357))
    main(["ingest", str(own), "--records", str(tmp_path / "out")])
    before = records_in(tmp_path / "out")
    better = {**result(0, 357), "test": {"n": 360, "correct_last": 360, "correct_best": 360}}
    (own / "result.json").write_text(json.dumps(better), encoding="utf-8")
    rejected("ingest", own, "--records", tmp_path / "out")
    assert records_in(tmp_path / "out") == before


def test_two_results_under_one_run_id_are_one_run(
    runs: Runs, tmp_path: Path, result: Result, capsys: pytest.CaptureFixture[str]
) -> None:
    runs.add(result(0, 357), "a")
    runs.add({**result(0, 357), "test": {"n": 360, "correct_last": 360, "correct_best": 360}}, "b")
    assert main(["ingest", str(runs.folder), "--records", str(tmp_path / "out")]) == 0
    assert f"left out: {runs.folder / 'b'}: has the run id of {runs.folder / 'a'} and another result" in capsys.readouterr().out
    assert records_in(tmp_path / "out")[0]["runs"][0]["correct_last"] == 357


def test_a_result_on_part_of_the_images_is_left_out(
    runs: Runs, tmp_path: Path, result: Result, capsys: pytest.CaptureFixture[str]
) -> None:
    runs.add(result(0, 357))
    runs.add(result(1, 357, test={"n": 100, "correct_last": 99, "correct_best": 99}))
    assert main(["ingest", str(runs.folder), "--records", str(tmp_path / "out")]) == 0
    assert "tested 100 of 360 images" in capsys.readouterr().out


def test_a_cross_check_accepts_what_mlflow_holds_and_leaves_out_what_was_not_sent(
    store: Store, tmp_path: Path, result: Result, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = store.send(store.runs.add(result(0, 357)))
    unsent = store.runs.add(result(1, 355))
    arguments = ["ingest", str(store.runs.folder), "--records", str(tmp_path / "out"), "--cross-check-mlflow", store.uri]
    assert main(arguments) == 0
    assert f"left out: {unsent}: was not sent to MLflow" in capsys.readouterr().out
    (record,) = records_in(tmp_path / "out")
    (run,) = record["runs"]
    logged = store.client.get_run(run_id).data.metrics["test/accuracy_last"]
    assert 100 * run["correct_last"] / record["dataset"]["n"] == logged


def test_a_result_that_differs_from_its_own_metric_is_rejected_and_nothing_is_written(
    store: Store, tmp_path: Path, result: Result, rejected: Rejected
) -> None:
    store.send(store.runs.add(result(0, 357)))
    other = store.runs.add(result(1, 357))
    store.send(other, last=99.9)
    line = rejected("ingest", store.runs.folder, "--records", tmp_path / "out", "--cross-check-mlflow", store.uri)
    assert str(other) in line
    assert "test/accuracy_last is 99.9, but result.json has 357 of 360 correct, which is 99.1667 %" in line
    assert not (tmp_path / "out").exists()


def test_a_run_that_mlflow_calls_failed_is_rejected(store: Store, tmp_path: Path, result: Result, rejected: Rejected) -> None:
    store.send(store.runs.add(result(0, 357)), status="FAILED")
    line = rejected("ingest", store.runs.folder, "--records", tmp_path / "out", "--cross-check-mlflow", store.uri)
    assert "is FAILED, not FINISHED" in line


def test_submit_writes_one_run_under_the_contributors_name(runs: Runs, tmp_path: Path, result: Result) -> None:
    own = runs.add(result(0, 357))
    runs.add(result(1, 355))
    out = tmp_path / "out"
    arguments = ["submit", str(own), "--contributor", "someone", "--link", "https://example.org/logs"]
    assert main([*arguments, "--records", str(out)]) == 0
    (record,) = records_in(out)
    assert (record["contributor"], record["link"]) == ("someone", "https://example.org/logs")
    assert [run["run_id"] for run in record["runs"]] == [result(0)["run_id"]]


@pytest.mark.parametrize(
    "changes, options, reason",
    [
        ({"dirty": True}, [], "uncommitted changes"),
        ({"commit": None, "dirty": None}, [], "names no commit"),
        ({}, ["--link", "javascript:alert(1)"], "link: String should match pattern"),
        ({}, ["--contributor", "a b"], "contributor: String should match pattern"),
    ],
    ids=["dirty", "no_commit", "script_as_link", "no_account_name"],
)
def test_submit_rejects_what_the_check_would_reject(
    runs: Runs, tmp_path: Path, result: Result, rejected: Rejected, changes: Json, options: list[str], reason: str
) -> None:
    arguments = ["submit", runs.add(result(0, 357, **changes)), "--contributor", "someone", *options]
    assert reason in rejected(*arguments, "--records", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_submit_with_a_cross_check_rejects_a_result_file_edited_after_the_run(
    store: Store, tmp_path: Path, result: Result, rejected: Rejected
) -> None:
    own = store.runs.add(result(0, 357))
    store.send(own)
    arguments = ["submit", own, "--contributor", "someone", "--records", tmp_path / "out", "--cross-check-mlflow", store.uri]
    content = json.loads((own / "result.json").read_text(encoding="utf-8"))
    (own / "result.json").write_text(json.dumps({**content, "train_seconds": 7.26}), encoding="utf-8")
    assert "differs from the artifact result.json of MLflow run" in rejected(*arguments)
    content["test"].update(correct_last=360, correct_best=360)
    (own / "result.json").write_text(json.dumps(content), encoding="utf-8")
    assert "test/accuracy_last is 99.1" in rejected(*arguments)


@pytest.mark.parametrize(
    "content, reason",
    [(None, "there is no such file"), (b"", "is not an MLflow store"), (b"x" * 200, "is not a readable")],
    ids=["no_file", "empty_file", "no_database"],
)
def test_a_file_that_is_no_store_is_rejected_and_left_as_it_is(
    runs: Runs, tmp_path: Path, result: Result, rejected: Rejected, content: bytes | None, reason: str
) -> None:
    database = tmp_path / "mlflow.db"
    if content is not None:
        database.write_bytes(content)
    own = runs.add(result(0, 357))
    uri = f"sqlite:///{database}"
    assert reason in rejected("ingest", own, "--records", tmp_path / "out", "--cross-check-mlflow", uri)
    assert database.exists() == (content is not None)
    assert content is None or database.read_bytes() == content


@pytest.mark.parametrize(
    "uri, reason",
    [
        ("./mlruns", "MLFLOW_ALLOW_FILE_STORE"),
        ("ftp://host", "unsupported URI"),
        ("sqlite://", "there is no such file"),
        ("http://me:secret-word@127.0.0.1:{port}", "Connection refused"),
        ("postgresql://me:secret-word@127.0.0.1:{port}/db", "refused|psycopg"),
    ],
)
@pytest.mark.nightly
def test_what_mlflow_cannot_use_is_rejected_in_its_words_and_without_the_password(
    runs: Runs, tmp_path: Path, result: Result, rejected: Rejected, monkeypatch: pytest.MonkeyPatch, uri: str, reason: str
) -> None:
    monkeypatch.chdir(tmp_path)
    own = runs.add(result(0, 357))
    line = rejected("ingest", own, "--records", tmp_path / "out", "--cross-check-mlflow", uri.format(port=free_port()))
    assert re.search(reason, line)
    assert "secret-word" not in line
    assert not (tmp_path / "mlruns").exists()


def test_a_store_that_does_not_answer_is_given_up_at_the_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(InputError, match=r"no answer within 0\.5 s"):
        MlflowStore(f"http://127.0.0.1:{silent.getsockname()[1]}", seconds=0.5)


def test_the_first_finished_run_of_a_seed_counts_even_when_a_later_one_is_better(result: Result) -> None:
    early = result(0, 350, series="a", finished="2025-11-21T10:30:00Z")
    late = result(0, 360, series="b", finished="2025-11-21T10:30:00.5+00:00")
    runs = [seed_run(RUN_RESULT.validate_json(json.dumps(one))) for one in (late, early)]
    assert [run.correct_last for run in first_of_each_seed(runs)] == [350]


@pytest.mark.parametrize(
    "field, value", [("form", "feature"), ("threads", 1), ("kernel_backend", "c-avx2")], ids=["form", "threads", "backend"]
)
def test_runs_of_two_executions_are_two_records_of_one_recipe(
    measured: Callable[..., Measured], result: Result, field: str, value: object
) -> None:
    one, other = measured(), measured(execution={**result()["execution"], field: value})
    assert one.id != other.id
    assert one.recipe == other.recipe


@pytest.mark.parametrize(
    "name, accepted", [("digits", True), ("digits+", True), ("paper-v2+", True), ("di+gits", False), ("a/b", False)]
)
def test_a_recipe_of_which_fields_were_changed_keeps_its_plus(name: str, accepted: bool) -> None:
    values = {"name": name, "sha256": "1" * 64, "values": {}}
    if accepted:
        assert RecipePart.model_validate(values).name == name
    else:
        with pytest.raises(ValueError, match="String should match pattern"):
            RecipePart.model_validate(values)


def test_a_record_of_many_seeds_can_be_read_again_and_one_of_too_many_is_not_written(
    tmp_path: Path, result: Callable[..., Json], rejected: Callable[..., str]
) -> None:
    def runs(name: str, seeds: range) -> Path:
        for seed in seeds:
            path = tmp_path / name / f"run{seed}" / "result.json"
            path.parent.mkdir(parents=True)
            unique = {"run_id": f"{seed + 1:032x}", "checkpoint_sha256": f"{seed + 1:064x}"}
            path.write_text(json.dumps({**result(seed), **unique}), encoding="utf-8")
        return tmp_path / name

    records = tmp_path / "records"
    assert main(["ingest", str(runs("a", range(300))), "--records", str(records)]) == 0
    (path,) = records.rglob("*.json")
    assert path.stat().st_size > 65_536
    assert main(["ingest", str(tmp_path / "a"), "--records", str(records)]) == 0
    before = path.read_bytes()
    assert "has 1001 seeds, a record has at most 1000" in rejected("ingest", runs("b", range(300, 1001)), "--records", records)
    assert path.read_bytes() == before


def test_a_large_certificate_can_be_read_again(tmp_path: Path, report: Json, write: Callable[..., Path]) -> None:
    (checked,) = report["properties"]
    large = {**report, "properties": [{**checked, "name": f"duality {i}", "detail": "d" * 900} for i in range(150)]}
    records = tmp_path / "records"
    for _ in range(2):
        assert main(["ingest", str(write("certificate.json", large)), "--records", str(records)]) == 0


def test_a_damaged_link_to_mlflow_leaves_out_its_run_alone(
    tmp_path: Path, result: Callable[..., Json], write: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    found = Findings(
        runs=[FinishedRun(source=tmp_path / name, result=RUN_RESULT.validate_json(json.dumps(result()))) for name in "ab"]
    )
    write("a/mlflow.json", ["no run"])

    class Store:
        def fault_of(self, run_id: str, result: object) -> None:
            raise AssertionError("no run was sent")

    assert list(cross_checked(found, Store())) == []  # type: ignore[arg-type]
    assert [line.split(": ")[0] for line in found.left_out] == [str(tmp_path / "a" / "mlflow.json"), str(tmp_path / "b")]
