"""The paper's questions put to small trained models: answered only by pairs that differ in the one respect asked about."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mgnet_leaderboard.orderings import Ordering, orderings
from mgnet_leaderboard.records.measured import Measured
from mgnet_leaderboard.statistics.study import studies
from mgnet_leaderboard.store.evidence import Evidence, gathered
from mgnet_leaderboard.store.folder import read_results

RESULTS = Path(__file__).parents[2] / "leaderboard" / "results"
Answers = Callable[..., list[Ordering]]


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    """The committed claims and comparisons."""
    return gathered(read_results(RESULTS, committed=True))


@pytest.fixture
def answers(evidence: Evidence, measured: Callable[..., Measured]) -> Answers:
    """The orderings that models with these counts of correct images answer."""

    def make(**corrects: tuple[int, ...]) -> list[Ordering]:
        records = [measured(counts, series=model, model=model) for model, counts in corrects.items()]
        (study,) = studies(records)
        assert evidence.claims is not None
        assert evidence.comparisons is not None
        return list(orderings(study, evidence.claims, evidence.comparisons))

    return make


def pairs(found: list[Ordering]) -> set[tuple[str, str, str]]:
    return {(one.better.record.model, one.worse.record.model, one.verdict) for one in found}


def test_models_of_printed_rows_are_compared_as_the_paper_compares_them(answers: Answers) -> None:
    found = answers(mgresnet18_al_bli=(355, 356, 355), mgresnet18_ali_bli=(340, 341, 340))
    assert pairs(found) == {("mgresnet18_al_bli", "mgresnet18_ali_bli", "reappears")}


def test_an_ordering_that_comes_out_the_other_way_is_said_to(answers: Answers) -> None:
    found = answers(mgresnet18_al_bli=(340, 341, 340), mgresnet18_ali_bli=(355, 356, 355))
    assert pairs(found) == {("mgresnet18_al_bli", "mgresnet18_ali_bli", "the other way")}


def test_small_mgnets_answer_for_large_ones_when_they_differ_in_one_respect(answers: Answers) -> None:
    found = answers(
        mgnet_2_2_2_c16_bl=(350, 352, 351),
        mgnet_2_2_2_c16_bli=(350, 353, 351),
        mgnet_4_2_2_c16_bl=(351, 352, 350),
        mgnet_4_2_2_c8_bl=(340, 342, 341),
    )
    assert pairs(found) == {
        ("mgnet_2_2_2_c16_bli", "mgnet_2_2_2_c16_bl", "inside the noise"),
        ("mgnet_4_2_2_c16_bl", "mgnet_2_2_2_c16_bl", "inside the noise"),
    }


def test_one_seed_answers_nothing(answers: Answers) -> None:
    found = answers(gdfi_lin_both=(355,), gdfi_pre_pre=(340,))
    assert pairs(found) == {("gdfi_lin_both", "gdfi_pre_pre", "too few seeds")}


def test_each_pair_is_asked_once_although_two_versions_print_it(answers: Answers) -> None:
    found = answers(gdfi_lin_both=(355, 355, 356), gdfi_pre_pre=(340, 341, 340), gdfi_lin_lin=(300, 310, 305))
    assert len(found) == 2
