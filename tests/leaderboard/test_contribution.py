"""What a contributed results folder may change against the base branch."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mgnet_leaderboard.cli import main
from mgnet_leaderboard.records.measured import Measured, merged, record_of, summarize
from mgnet_leaderboard.records.union import path_of
from mgnet_leaderboard.store.contribution import check_contribution
from mgnet_records.errors import InputError
from mgnet_records.run_result import RUN_RESULT

Json = dict[str, Any]

Measure = Callable[..., Measured]
Place = Callable[..., Path]
Rejected = Callable[..., str]


def contributed(measured: Measure, corrects: tuple[int, ...] = (350, 351)) -> Measured:
    return measured(corrects, contributor="someone", series="other", model="mgnet_2_2_c16_bl")


@pytest.fixture
def base(tmp_path: Path, results: Path, measured: Measure, place: Place) -> Path:
    """The results of the base branch, with a contributed record; the contribution starts as a copy in `head`."""
    place(results, contributed(measured))
    shutil.copytree(results, tmp_path / "head")
    return results


@pytest.fixture
def head(base: Path) -> Path:
    """The results folder of the contribution."""
    return base.parent / "head"


def test_a_contribution_without_a_change_is_accepted(base: Path, head: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--results", str(head), "--base", str(base)]) == 0
    assert "no record differs" in capsys.readouterr().out


def test_a_new_record_is_accepted_and_listed_for_the_reviewer(
    base: Path, head: Path, measured: Measure, place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    place(head, measured((359,), contributor="someone", series="new", model="mgnet_2_2_c64_bl"))
    capsys.readouterr()
    assert main(["check", "--results", str(head), "--base", str(base)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("new: measured/mgnet_2_2_c64_bl-digits-")
    assert "99.72 % over 1 seed(s)" in out


def test_more_seeds_are_accepted_and_the_old_mean_is_shown(
    base: Path, head: Path, measured: Measure, place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    place(head, contributed(measured, (350, 351, 355)))
    capsys.readouterr()
    assert main(["check", "--results", str(head), "--base", str(base)]) == 0
    assert "97.78 % over 3 seed(s), was 97.36 % over 2" in capsys.readouterr().out


def with_a_better_seed(record: Measured) -> Measured:
    runs = (record.runs[0].model_copy(update={"correct_last": 360, "correct_best": 360}), *record.runs[1:])
    return record.model_copy(update={"runs": runs, "summary": summarize(runs, record.dataset.n)})


def without_the_last_seed(record: Measured) -> Measured:
    runs = record.runs[:-1]
    return record.model_copy(update={"runs": runs, "summary": summarize(runs, record.dataset.n)})


@pytest.mark.parametrize("cheat", [with_a_better_seed, without_the_last_seed], ids=lambda cheat: cheat.__name__)
def test_a_seed_on_the_board_cannot_be_changed_or_dropped(
    base: Path, head: Path, measured: Measure, place: Place, rejected: Rejected, cheat: Callable[[Measured], Measured]
) -> None:
    place(head, cheat(contributed(measured)))
    assert "was changed or dropped" in rejected("check", "--results", head, "--base", base)


def test_the_link_of_a_record_on_the_board_cannot_be_changed(
    base: Path, head: Path, measured: Measure, place: Place, rejected: Rejected
) -> None:
    place(head, contributed(measured).model_copy(update={"link": "https://example.org/elsewhere"}))
    assert "the link was changed" in rejected("check", "--results", head, "--base", base)


@pytest.mark.parametrize(
    "changes",
    [
        {"contributor": "somebody"},
        {"contributor": "someone", "commit": "f" * 40},
        {"contributor": "someone", "seeds": (7, 8)},
    ],
    ids=["another contributor", "another commit", "other seeds"],
)
def test_one_training_counts_once_whatever_is_said_of_it(
    base: Path, head: Path, measured: Measure, place: Place, rejected: Rejected, result: Callable[..., Json], changes: Json
) -> None:
    changes = dict(changes)
    seeds, contributor = changes.pop("seeds", (0, 1)), changes.pop("contributor")
    copies = []
    for old, seed in zip(contributed(measured).runs, seeds):
        made = result(seed, old.correct_last, series="copy", model="mgnet_2_2_c16_bl", **changes)
        made |= {"checkpoint_sha256": old.checkpoint_sha256}
        copies.append(record_of(RUN_RESULT.validate_json(json.dumps(made)), contributor=contributor))
    place(head, merged(copies if "commit" in changes or contributor == "somebody" else [contributed(measured), *copies]))
    assert "one training counts once" in rejected("check", "--results", head, "--base", base)


def test_two_seeds_with_one_checkpoint_are_one_training(head: Path, measured: Measure, place: Place, rejected: Rejected) -> None:
    record = contributed(measured, (350, 351))
    twins = tuple(run.model_copy(update={"checkpoint_sha256": record.runs[0].checkpoint_sha256}) for run in record.runs)
    place(head, record.model_copy(update={"runs": twins}))
    assert "one training counts once" in rejected("check", "--results", head)


def test_equal_bits_are_no_fault_on_one_machine(tmp_path: Path, result: Callable[..., Json], write: Callable[..., Path]) -> None:
    first, again = result(0, 350, series="a"), result(0, 350, series="b", commit="f" * 40)
    again["checkpoint_sha256"] = first["checkpoint_sha256"]
    files = [write("a/result.json", first), write("b/result.json", again)]
    assert main(["ingest", *map(str, files), "--records", str(tmp_path / "records")]) == 0
    assert len(list((tmp_path / "records").rglob("*.json"))) == 2


def test_a_run_that_has_not_happened_yet_is_rejected(base: Path, head: Path, measured: Measure, place: Place) -> None:
    place(head, measured((359,), contributor="someone", series="new", model="mgnet_2_2_c64_bl"))
    day = datetime(2025, 11, 21, tzinfo=UTC)
    assert len(check_contribution(head, base, now=day)) == 1
    with pytest.raises(InputError, match=r"seed 0 finished 2025-11-21T10:00:09\.5Z, which is still to come"):
        check_contribution(head, base, now=day - timedelta(days=1))


def test_a_record_cannot_be_removed(base: Path, head: Path, measured: Measure, rejected: Rejected) -> None:
    (head / path_of(measured())).unlink()
    assert "records are never removed" in rejected("check", "--results", head, "--base", base)


def test_a_result_cannot_be_passed_off_as_the_projects_own(
    base: Path, head: Path, measured: Measure, place: Place, rejected: Rejected
) -> None:
    place(head, measured((359,), series="new", model="mgnet_2_2_c64_bl"))
    assert "names no contributor" in rejected("check", "--results", head, "--base", base)


@pytest.mark.parametrize(
    "folder, old, new",
    [
        ("claims", '"79.94"', '"79.95"'),
        ("verified", '"examples": 100', '"examples": 999'),
        ("demo", '"predicted": 3', '"predicted": 4'),
    ],
    ids=["claims", "certificate", "demo"],
)
def test_the_other_kinds_of_evidence_cannot_be_contributed_as_data(
    base: Path, head: Path, rejected: Rejected, folder: str, old: str, new: str
) -> None:
    path = next((head / folder).glob("*.json"))
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    line = rejected("check", "--results", head, "--base", base)
    assert "only measured records are contributed as data" in line
