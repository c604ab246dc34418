"""What a contributed results folder may change against the base branch."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mgnet_leaderboard.cli import main
from mgnet_leaderboard.records.measured import Measured, summarize
from mgnet_leaderboard.records.union import path_of

Measure = Callable[..., Measured]
Place = Callable[..., Path]
Rejected = Callable[..., str]


def contributed(measured: Measure, corrects: tuple[int, ...] = (350, 351)) -> Measured:
    return measured(corrects, contributor="someone", series="other", model="mgnet_2_2_c16_bl", parameters=14_490)


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
