"""Databases, disks and runs of MLflow in the states that people leave them in: one line, and a later sync has all, once."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mgnet_train.runs.folder import read_config
from mgnet_train.runs.journal import JOURNAL, Journal
from mgnet_train.runs.lock import exclusive
from mgnet_train.tracking.calls import in_one_line
from mgnet_train.tracking.store import LINK
from mgnet_train.tracking.uploader import LOCK, OFFSET, Uploader, read_sent, sync_all, unsent
from mgnet_train.tracking.uri import store_uri
from mgnet_train.tracking.worker import Sender
from train.tracked import Points, change_config, points_sent, points_written, stopped_run, twin

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")  # mlflow's use of sqlalchemy


def client_of(runs: Path) -> Any:
    from mlflow.tracking import MlflowClient

    return MlflowClient(store_uri(runs))


def sent(folder: Path) -> Points:
    return points_sent(client_of(folder.parent), folder)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs with one stopped run, and an empty default database, whose making takes seconds."""
    runs = stopped_run(tmp_path_factory.mktemp("stopped") / "runs").parent
    Sender().check(runs)
    return runs


@pytest.fixture
def runs(stopped: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(stopped, tmp_path / "runs"))


@pytest.fixture
def folder(runs: Path) -> Path:
    (folder,) = (path for path in runs.iterdir() if path.is_dir())
    return folder


def send(folder: Path) -> None:
    Uploader(folder, Sender()).send_new()


def refusal(folder: Path) -> str:
    """The line for a run that cannot be sent."""
    with pytest.raises(Exception) as caught:
        send(folder)
    line = in_one_line(caught.value, store_uri(folder.parent))
    assert "\n" not in line
    return line


# The offset


OFFSETS: dict[str, Callable[[str], str]] = {
    "emptied": lambda text: "",
    "of the first form": lambda text: "12",
    "zeros": lambda text: "\x00" * len(text),
    "cut": lambda text: text[: len(text) // 2],
    "beyond the end": lambda text: text.replace('"bytes": ', '"bytes": 9'),
    "negative": lambda text: text.replace('"bytes": ', '"bytes": -'),
    "another digest": lambda text: text.replace('"digest": "', '"digest": "0'),
    "another run": lambda text: text.replace('"run_id": "', '"run_id": "0'),
    "beyond any file": lambda text: json.dumps(json.loads(text) | {"bytes": 10**30}),
    "a truth value": lambda text: json.dumps(json.loads(text) | {"bytes": True}),
    "in a line": lambda text: json.dumps(json.loads(text) | {"bytes": 7}),
    "nothing": lambda text: json.dumps(json.loads(text) | {"bytes": None}),
    "a list": lambda text: "[1, 2]",
}
QUICK = ("beyond the end", "another run", "beyond any file")


@pytest.mark.parametrize("damage", [one if one in QUICK else pytest.param(one, marks=pytest.mark.nightly) for one in OFFSETS])
def test_an_offset_that_is_damaged_sends_all_again_and_mlflow_has_it_once(folder: Path, damage: str) -> None:
    send(folder)
    (folder / OFFSET).write_text(OFFSETS[damage]((folder / OFFSET).read_text()))
    assert unsent(folder) or damage == "another run"  # that one is known by asking MLflow
    send(folder)
    assert not unsent(folder)
    assert sent(folder) == points_written(folder)
    assert read_sent(folder) is not None


@pytest.mark.nightly
def test_an_offset_behind_the_end_of_a_journal_that_was_cut_is_none_and_what_follows_is_sent(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    send(folder)
    lines = (folder / JOURNAL).read_bytes().splitlines(keepends=True)
    (folder / JOURNAL).write_bytes(b"".join(lines[:2]))
    assert unsent(folder)
    assert read_sent(folder) is None
    journal = Journal(folder)
    for step in range(500, 600):
        journal.log("step", step, {"train/step_loss": 1.0})
    journal.close()
    assert (folder / JOURNAL).stat().st_size > len(b"".join(lines))
    send(folder)
    assert f"{OFFSET} does not fit {JOURNAL}, so all of it is sent again" in capsys.readouterr().out
    assert set(points_written(folder)) <= set(sent(folder))
    assert not unsent(folder)


def test_a_torn_last_line_is_nothing_that_could_be_sent(folder: Path) -> None:
    send(folder)
    with open(folder / JOURNAL, "ab") as file:
        file.write(b'{"kind": "step", "ste')
    assert not unsent(folder)


@pytest.mark.nightly
def test_a_journal_damaged_in_the_middle_is_one_line_and_nothing_is_sent(folder: Path) -> None:
    content = bytearray((folder / JOURNAL).read_bytes())
    content[40] = 0xFF
    (folder / JOURNAL).write_bytes(content)
    assert f"{JOURNAL} is corrupt" in refusal(folder)
    assert unsent(folder)
    assert not (folder / LINK).exists()


# Runs and stores that are others now


@pytest.mark.nightly
def test_another_store_gets_all_of_a_run_that_the_first_one_has(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    send(folder)
    database = shutil.copy(folder.parent / "mlflow.db", tmp_path / "another.db")
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        for table in ("metrics", "latest_metrics", "params", "tags", "inputs", "runs"):
            connection.execute(f"DELETE FROM {table}")
        connection.commit()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{database}")
    assert unsent(folder)
    send(folder)
    assert not unsent(folder)
    assert sent(folder) == points_written(folder)


@pytest.mark.nightly
def test_a_store_that_was_deleted_gets_all_again(folder: Path, stopped: Path) -> None:
    send(folder)
    shutil.copy(stopped / "mlflow.db", folder.parent / "mlflow.db")
    send(folder)
    assert sent(folder) == points_written(folder)


@pytest.mark.nightly
def test_a_folder_of_runs_that_was_moved_with_its_database_has_nothing_to_send(folder: Path, tmp_path: Path) -> None:
    send(folder)
    moved = folder.parent.rename(tmp_path / "moved") / folder.name
    assert not unsent(moved)
    send(moved)
    assert sent(moved) == points_written(moved)


@pytest.mark.nightly
@pytest.mark.parametrize(
    "link", ["", "{}", '{"run_id": 5}', '{"run_id": ""}', '{"run_id": "../../x"}', '{"run_id": "' + "0" * 32 + '"}']
)
def test_a_damaged_link_file_finds_the_run_by_its_tag(folder: Path, link: str) -> None:
    send(folder)
    before = json.loads((folder / LINK).read_text())
    (folder / LINK).write_text(link)
    send(folder)
    assert json.loads((folder / LINK).read_text()) == before


@pytest.mark.nightly
def test_the_link_file_of_another_run_is_not_followed(folder: Path) -> None:
    other = twin(folder, 1)
    send(other)
    shutil.copy(other / LINK, folder / LINK)
    shutil.copy(other / OFFSET, folder / OFFSET)
    send(folder)
    ids = [json.loads((one / LINK).read_text())["run_id"] for one in (folder, other)]
    assert len(set(ids)) == 2
    assert sent(folder) == points_written(folder)


def test_a_run_that_was_deleted_in_mlflow_is_one_line_that_says_how_to_restore_it(folder: Path) -> None:
    send(folder)
    run_id = json.loads((folder / LINK).read_text())["run_id"]
    client_of(folder.parent).delete_run(run_id)
    assert f"was deleted in MLflow: `mlflow runs restore --run-id {run_id}`" in refusal(folder)
    (folder / LINK).unlink()
    assert "was deleted in MLflow" in refusal(folder)
    client_of(folder.parent).restore_run(run_id)
    send(folder)
    assert sent(folder) == points_written(folder)


@pytest.mark.nightly
def test_an_experiment_that_was_deleted_in_mlflow_is_one_line_that_says_how_to_restore_it(folder: Path) -> None:
    send(folder)
    client = client_of(folder.parent)
    experiment = client.get_experiment_by_name("mgnet").experiment_id
    client.delete_experiment(experiment)
    assert f"`mlflow experiments restore --experiment-id {experiment}`" in refusal(folder)
    client.restore_experiment(experiment)
    send(folder)
    assert sent(folder) == points_written(folder)


@pytest.mark.nightly
def test_values_that_are_too_long_for_mlflow_do_not_keep_a_run_out(folder: Path) -> None:
    long = {f"field_{number}": "x" * 10_000 for number in range(60)}
    notation, model_args = "MgNet[" + "2," * 9000 + "2]-[4]-B^l", {"channels": list(range(9000))}
    change_config(folder, notation=notation, model_args=model_args, recipe=read_config(folder)["recipe"] | long)
    send(folder)
    assert sent(folder) == points_written(folder)
    params = client_of(folder.parent).get_run(json.loads((folder / LINK).read_text())["run_id"]).data.params
    assert len(params) > 90


# Databases and disks


@pytest.mark.nightly
def test_a_locked_database_is_one_line_and_a_later_sync_has_all(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    send(twin(folder, 1))  # the experiment exists
    with closing(sqlite3.connect(folder.parent / "mlflow.db", isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        assert "database is locked" in refusal(folder)
    send(folder)
    assert sent(folder) == points_written(folder)


@pytest.mark.nightly
@pytest.mark.parametrize("damage", ["garbled", "cut", "emptied", "folder"])
def test_a_damaged_database_is_one_line_and_a_later_sync_has_all(folder: Path, damage: str, stopped: Path) -> None:
    path = folder.parent / "mlflow.db"
    content = path.read_bytes()
    path.unlink()
    if damage == "folder":
        path.mkdir()
    else:
        broken = {"garbled": b"\x07" * len(content), "cut": content[:5000], "emptied": b"not a database at all" * 100}
        path.write_bytes(broken[damage])
    assert any(word in refusal(folder) for word in ("not a database", "malformed", "unable to open"))
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copy(stopped / "mlflow.db", path)
    send(folder)
    assert sent(folder) == points_written(folder)


@pytest.mark.nightly
@pytest.mark.parametrize("trigger", ["metrics", "params", "tags", "runs"])
def test_a_database_that_takes_no_rows_is_one_line_and_a_later_sync_has_all(folder: Path, trigger: str) -> None:
    """As a full or read-only disk does in the middle: the write of one table fails."""
    send(twin(folder, 1))
    with closing(sqlite3.connect(folder.parent / "mlflow.db")) as connection:
        connection.execute(f"CREATE TRIGGER full BEFORE INSERT ON {trigger} BEGIN SELECT RAISE(FAIL, 'disk is full'); END")
        connection.commit()
    assert "disk is full" in refusal(folder)
    with closing(sqlite3.connect(folder.parent / "mlflow.db")) as connection:
        connection.execute("DROP TRIGGER full")
        connection.commit()
    send(folder)
    assert sent(folder) == points_written(folder)


def test_a_database_that_forgets_points_is_noticed(folder: Path) -> None:
    send(twin(folder, 1))
    with closing(sqlite3.connect(folder.parent / "mlflow.db")) as connection:
        connection.execute("CREATE TRIGGER forgets BEFORE INSERT ON metrics BEGIN SELECT RAISE(IGNORE); END")
        connection.commit()
    assert "that it does not have" in refusal(folder)
    assert unsent(folder)


def test_the_schema_of_an_older_mlflow_is_one_line_that_says_how_to_upgrade(folder: Path) -> None:
    with closing(sqlite3.connect(folder.parent / "mlflow.db")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")
        connection.commit()
    assert "mlflow db upgrade" in refusal(folder)


@pytest.mark.nightly
@pytest.mark.parametrize("state", ["a file", "a dangling link"])
def test_an_artifact_store_that_cannot_be_written_is_one_line_and_a_later_sync_has_all(folder: Path, state: str) -> None:
    place = folder.parent / "mlartifacts"
    if state == "a file":
        place.write_text("in the way")
    else:
        place.symlink_to("/dev/null/nowhere")
    assert "mlartifacts" in refusal(folder)
    assert unsent(folder)
    place.unlink()
    send(folder)
    assert sent(folder) == points_written(folder)
    run_id = json.loads((folder / LINK).read_text())["run_id"]
    assert {file.path for file in client_of(folder.parent).list_artifacts(run_id)} == {"config.json"}


@pytest.mark.nightly
def test_names_of_folders_that_mean_something_in_an_address_are_plain_names(stopped: Path, tmp_path: Path) -> None:
    runs = Path(shutil.copytree(stopped, tmp_path / "a%41?b#c @ä;x"))
    (folder,) = (path for path in runs.iterdir() if path.is_dir())
    send(folder)
    assert sent(folder) == points_written(folder)
    assert (runs / "mlartifacts").is_dir()


@pytest.mark.nightly
def test_an_empty_variable_keeps_artifacts_beside_the_database(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    monkeypatch.chdir(tmp_path)
    send(folder)
    assert (folder.parent / "mlartifacts").is_dir()
    assert not (tmp_path / "mlruns").exists()


# Several at once, and one after the other


def test_a_run_that_cannot_be_sent_is_one_line_and_the_others_are_sent(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [folder, *(twin(folder, number) for number in range(1, 6))]
    (folders[1] / "config.json").write_text("{")
    (folders[2] / JOURNAL).write_bytes(b"\xff\n" + (folder / JOURNAL).read_bytes())
    (folders[3] / LOCK).mkdir()
    lines: list[str] = []
    with exclusive(folders[4] / LOCK):
        assert sync_all(folders, Sender(), lines.append) == 4  # type: ignore[arg-type]
    assert len(lines) == len(folders)
    assert ["FAILED" in line for line in lines] == [False, True, True, True, False, False]
    assert lines[4].endswith("another process is sending it")
    for one in (folders[0], folders[5]):
        assert sent(one) == points_written(one)


@pytest.mark.nightly
def test_a_store_that_takes_a_point_twice_has_it_once(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow's store of plain files appends what is sent again, so that nothing may be sent again."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", str(tmp_path / "files"))
    send(folder)
    (folder / OFFSET).unlink()
    send(folder)
    assert sent(folder) == points_written(folder)
