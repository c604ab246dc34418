"""A contributor cannot cheat: each way tried here is rejected in one line that names it."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mgnet_leaderboard.cli import main
from mgnet_leaderboard.records.measured import Measured, measured_id, summarize

Json = dict[str, Any]
Rejected = Callable[..., str]


@pytest.fixture
def record(tmp_path: Path, measured: Callable[..., Measured], place: Callable[..., Path]) -> Path:
    """A sound contributed record of three seeds, alone in a results folder."""
    return place(tmp_path / "head", measured(contributor="someone"))


def edit(path: Path, change: Callable[[Json], object]) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def test_the_record_that_the_attempts_start_from_is_accepted(record: Path) -> None:
    assert main(["check", "--results", str(record.parents[1])]) == 2, "the schema file is missing"
    main(["schema", "--out", str(record.parents[1] / "schema.json")])
    assert main(["check", "--results", str(record.parents[1])]) == 0


def renamed(content: Json) -> None:
    content["model"] = "<script>alert(1)</script>"


ATTEMPTS: list[tuple[str, Callable[[Json], object], str]] = [
    ("edited_mean", lambda c: c["summary"].update(accuracy_last_mean=99.9), "summary is not what the runs give"),
    ("edited_correct_count", lambda c: c["runs"][0].update(correct_last=359, correct_best=360), "summary is not what"),
    ("dropped_seed", lambda c: c["runs"].pop(1), "summary is not what the runs give"),
    ("swapped_commit", lambda c: c.update(commit="f" * 40), "the id is .* but the content gives"),
    ("swapped_recipe", lambda c: c["recipe"].update(sha256="1" * 64), "its values give"),
    ("recipe_values_changed", lambda c: c["recipe"]["values"].update(lr=0.2), "its values give"),
    ("execution_changed", lambda c: c["execution"].update(form="feature"), "the id is .* but the content gives"),
    ("digest_of_zeros", lambda c: c["dataset"].update(sha256="0" * 64), "a digest of zeros"),
    ("speed_beyond_any_machine", lambda c: c["runs"][0].update(images_per_second=1.7e308), "less than or equal to"),
    ("hidden_characters", lambda c: c["environment"].update(os="Lin\u202eux"), "environment.os"),
    ("other_contributor", lambda c: c.update(contributor="someone-else"), "the id is .* but the content gives"),
    ("javascript_link", lambda c: c.update(link="javascript:alert(1)"), "link: String should match pattern"),
    ("plain_http_link", lambda c: c.update(link="http://example.org/x"), "link: String should match pattern"),
    ("html_in_a_name", renamed, "model: String should match pattern"),
    ("html_in_the_hardware", lambda c: c["environment"].update(cpu="<img src=x>"), "environment.cpu: String should"),
    ("path_in_the_model", lambda c: c.update(model="../../../etc/passwd"), "model: String should match pattern"),
    ("path_in_the_id", lambda c: c.update(id="../../index.ht"), "id: String should match pattern"),
    ("infinite_speed", lambda c: c["runs"][0].update(images_per_second=float("inf")), "Infinity is not a number"),
    ("nan_seconds", lambda c: c["runs"][0].update(train_seconds=float("nan")), "NaN is not a number"),
    ("nan_in_the_recipe", lambda c: c["recipe"]["values"].update(lr=float("nan")), "NaN is not a number"),
    ("seed_twice", lambda c: c["runs"].append(c["runs"][0]), "each appears once, in rising order"),
    ("run_for_two_seeds", lambda c: c["runs"][1].update(run_id=c["runs"][0]["run_id"]), "two seeds name one run"),
    ("more_right_than_images", lambda c: c["runs"][0].update(correct_last=361, correct_best=361), "361 of 360 test images"),
    ("last_above_best", lambda c: c["runs"][0].update(correct_best=3), "the best epoch .* is worse than the last"),
    ("negative_count", lambda c: c["runs"][0].update(correct_last=-1), "greater than or equal to 0"),
    ("count_as_text", lambda c: c["runs"][0].update(correct_last="357"), "valid integer"),
    ("truth_as_count", lambda c: c["runs"][0].update(correct_last=True), "valid integer"),
    ("unknown_field", lambda c: c.update(rank=1), "rank: Extra inputs are not permitted"),
    ("foreign_schema", lambda c: c.update(schema_version=1), "schema_version: Input should be 2"),
    ("foreign_kind", lambda c: c.update(kind="verified"), "verified"),
    ("unknown_kind", lambda c: c.update(kind="proven"), "does not match any of the expected tags"),
    ("no_runs", lambda c: c.update(runs=[]), "runs"),
    ("impossible_time", lambda c: c["runs"][0].update(finished="2026-02-31T10:00:00Z"), "finished"),
    ("finished_before_start", lambda c: c["runs"][0].update(finished="2020-01-01T00:00:00Z"), "before it started"),
]


@pytest.mark.parametrize("change, reason", [a[1:] for a in ATTEMPTS], ids=[a[0] for a in ATTEMPTS])
def test_an_edited_record_is_rejected(record: Path, rejected: Rejected, change: Callable[[Json], object], reason: str) -> None:
    edit(record, change)
    line = rejected("check", "--results", record.parents[1])
    assert record.name in line
    assert re.search(reason, line), line


def reseal(record: Measured, **changes: Any) -> Measured:
    """An edited record with its id and summary computed again, as a careful cheat would."""
    edited = record.model_copy(update=changes)
    edited = edited.model_copy(update={"summary": summarize(edited.runs, edited.dataset.n)})
    return edited.model_copy(update={"id": measured_id(edited)})


@pytest.mark.parametrize(
    "name, n, classes",
    [("cifar100", 1000, 100), ("cifar10", 10_000, 100), ("cifar_100", 10_000, 100)],
    ids=["fewer_images", "other_classes", "another_spelling"],
)
def test_a_subset_passed_off_as_the_full_set_is_rejected(
    tmp_path: Path,
    measured: Callable[..., Measured],
    place: Callable[..., Path],
    rejected: Rejected,
    name: str,
    n: int,
    classes: int,
) -> None:
    record = measured(contributor="someone")
    data = record.dataset.model_copy(update={"name": name, "n": n})
    place(tmp_path / "head", reseal(record, dataset=data, model_args={"in_chans": 3, "num_classes": classes}))
    assert "give a subset a name of its own" in rejected("check", "--results", tmp_path / "head")


@pytest.mark.parametrize(
    "changes, reason", [({"dirty": True}, "uncommitted changes"), ({"commit": None, "dirty": None}, "names no commit")]
)
def test_a_run_that_nobody_can_repeat_is_rejected(
    tmp_path: Path, measured: Callable[..., Measured], place: Callable[..., Path], rejected: Rejected, changes: Json, reason: str
) -> None:
    place(tmp_path / "head", reseal(measured(), **changes))
    assert reason in rejected("check", "--results", tmp_path / "head")


def test_a_file_of_more_than_512_kilobytes_is_rejected(record: Path, rejected: Rejected) -> None:
    record.write_text(record.read_text(encoding="utf-8") + " " * 524_288, encoding="utf-8")
    assert "larger than 524288 bytes" in rejected("check", "--results", record.parents[1])


def test_a_link_in_the_place_of_a_record_is_rejected(record: Path, rejected: Rejected) -> None:
    os.symlink("/etc/hostname", record.parent / "other.json")
    assert "is a link" in rejected("check", "--results", record.parents[1])


def test_a_file_that_is_no_record_is_rejected(record: Path, rejected: Rejected) -> None:
    (record.parent / "setup.py").write_text("print('run me')", encoding="utf-8")
    assert "is no record" in rejected("check", "--results", record.parents[1])


def test_a_copy_under_another_name_is_rejected(record: Path, rejected: Rejected) -> None:
    shutil.copy(record, record.with_name("mgnet_2_2_c32_bl-digits-ffffffffffff.json"))
    assert "this record belongs in" in rejected("check", "--results", record.parents[1])


def test_a_key_that_appears_twice_is_rejected(record: Path, rejected: Rejected) -> None:
    text = record.read_text(encoding="utf-8")
    record.write_text(text.replace('"dirty": false', '"dirty": true, "dirty": false'), encoding="utf-8")
    assert "'dirty' stands twice" in rejected("check", "--results", record.parents[1])


def test_a_run_counted_in_two_records_is_rejected(
    tmp_path: Path, measured: Callable[..., Measured], place: Callable[..., Path], rejected: Rejected
) -> None:
    place(tmp_path / "head", measured(contributor="someone"))
    place(tmp_path / "head", measured(contributor="somebody"))
    assert "is already counted in" in rejected("check", "--results", tmp_path / "head")


def test_nesting_without_end_is_rejected(record: Path, rejected: Rejected) -> None:
    record.write_text('{"a":' * 5000 + "1" + "}" * 5000, encoding="utf-8")
    assert "not strict JSON" in rejected("check", "--results", record.parents[1])
