"""The paper's questions put to small trained models: answered only by pairs that differ in the one respect asked about."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from scipy.stats import ttest_1samp, ttest_ind, ttest_rel

from mgnet_leaderboard.board.rows import board
from mgnet_leaderboard.cli import main
from mgnet_leaderboard.records.measured import Measured
from mgnet_leaderboard.statistics.orderings import FACTORS, factor_pairs
from mgnet_leaderboard.statistics.study import MeasuredStudy, studies, study_sentences
from mgnet_leaderboard.statistics.tests import (
    NOT_SIGNIFICANT,
    REVERSED,
    SIGNIFICANCE,
    SIGNIFICANT,
    TOO_FEW_SEEDS,
    compare_differences,
    compare_seeds,
    verdicts,
)
from mgnet_leaderboard.store.evidence import Evidence, gathered
from mgnet_leaderboard.store.folder import read_results

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "leaderboard" / "results"
Answers = Callable[..., MeasuredStudy]


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    """The committed evidence."""
    return gathered(read_results(RESULTS, committed=True))


@pytest.fixture(scope="module")
def all_of_digits(evidence: Evidence) -> tuple[MeasuredStudy, ...]:
    """The committed studies on digits."""
    return studies(evidence.measured, evidence.claims, evidence.comparisons)


@pytest.fixture(scope="module")
def digits(all_of_digits: tuple[MeasuredStudy, ...]) -> MeasuredStudy:
    """The one that the paper's questions are put to."""
    return next(study for study in all_of_digits if study.asked_pairs)


@pytest.fixture
def answers(evidence: Evidence, measured: Callable[..., Measured]) -> Answers:
    """The study of models with these counts of correct images."""

    def make(**corrects: tuple[int, ...]) -> MeasuredStudy:
        records = [measured(counts, series=model, model=model) for model, counts in corrects.items()]
        (study,) = studies(records, evidence.claims, evidence.comparisons)
        return study

    return make


def pairs(study: MeasuredStudy) -> set[tuple[str, str, str]]:
    return {(one.better, one.worse, one.verdict) for one in study.asked_pairs}


def test_models_of_printed_rows_are_compared_as_the_paper_compares_them(answers: Answers) -> None:
    found = answers(mgresnet18_al_bli=(355, 356, 355), mgresnet18_ali_bli=(340, 341, 340))
    assert pairs(found) == {("mgresnet18_al_bli", "mgresnet18_ali_bli", "significant")}


def test_a_significant_difference_against_the_paper_is_called_reversed(answers: Answers) -> None:
    found = answers(mgresnet18_al_bli=(340, 341, 340), mgresnet18_ali_bli=(355, 356, 355))
    assert pairs(found) == {("mgresnet18_al_bli", "mgresnet18_ali_bli", "significant, reversed")}


def test_small_mgnets_answer_for_large_ones_when_they_differ_in_one_respect(answers: Answers) -> None:
    found = answers(
        mgnet_2_2_2_c16_bl=(350, 352, 351),
        mgnet_2_2_2_c16_bli=(350, 353, 351),
        mgnet_4_2_2_c16_bl=(351, 352, 350),
        mgnet_4_2_2_c8_bl=(340, 342, 341),
    )
    assert pairs(found) == {
        ("mgnet_2_2_2_c16_bli", "mgnet_2_2_2_c16_bl", "not significant"),
        ("mgnet_4_2_2_c16_bl", "mgnet_2_2_2_c16_bl", "too few seeds to tell"),
    }


def test_one_seed_answers_nothing(answers: Answers) -> None:
    found = answers(gdfi_lin_both=(355,), gdfi_pre_pre=(340,))
    assert pairs(found) == {("gdfi_lin_both", "gdfi_pre_pre", "too few seeds to tell")}


def test_each_pair_is_asked_once_although_two_versions_print_it(answers: Answers) -> None:
    found = answers(gdfi_lin_both=(355, 355, 356), gdfi_pre_pre=(340, 341, 340), gdfi_lin_lin=(300, 310, 305))
    assert len(found.asked_pairs) == 2


def test_the_same_seeds_are_compared_in_pairs_and_other_seeds_by_welch() -> None:
    first, second = {0: 99.0, 1: 98.5, 2: 99.5, 3: 98.0}, {0: 98.0, 1: 97.7, 2: 98.9, 3: 97.1}
    paired = compare_seeds(first, second)
    assert paired is not None
    assert paired.paired
    expected = ttest_rel(list(first.values()), list(second.values()))
    assert paired.p == pytest.approx(expected.pvalue)
    interval = expected.confidence_interval()
    assert (paired.difference - paired.half, paired.difference + paired.half) == pytest.approx((interval.low, interval.high))
    other = compare_seeds(first, {seed + 9: value for seed, value in second.items()})
    assert other is not None
    assert not other.paired
    assert other.p == pytest.approx(ttest_ind(list(first.values()), list(second.values()), equal_var=False).pvalue)


def test_equal_differences_of_all_seeds_are_no_certainty() -> None:
    test = compare_seeds({0: 98.0, 1: 98.5, 2: 98.25}, {0: 97.0, 1: 97.5, 2: 97.25})
    assert test is not None
    assert not test.paired
    assert test.p > 0


@pytest.mark.parametrize(
    "differences, gap, verdict",
    [
        ([1.0, 1.1, 0.9, 1.05], 0.5, SIGNIFICANT),
        ([-1.0, -1.1, -0.9, -1.05], 0.5, REVERSED),
        ([0.1, -0.1, 0.05, 0.0], 5.0, NOT_SIGNIFICANT),
        ([0.1, -0.1, 0.05, 0.0], 0.05, TOO_FEW_SEEDS),
        ([3.0], 1.0, TOO_FEW_SEEDS),
    ],
    ids=["clear", "clear_the_other_way", "gap_would_be_seen", "gap_would_not_be_seen", "one_seed"],
)
def test_a_verdict_says_whether_the_printed_difference_could_have_been_seen(
    differences: list[float], gap: float, verdict: str
) -> None:
    ((_, found),) = verdicts([compare_differences(differences)], [gap])
    assert found == verdict


def test_too_few_seeds_begins_exactly_where_the_printed_difference_would_not_be_significant() -> None:
    test = compare_differences([0.3, -0.2, 0.1, 0.25, -0.1])
    assert test is not None
    for tests in (1, 7):
        edge = test.detectable(tests)
        # The same spread around this mean has an adjusted p-value of exactly the significance level.
        assert tests * ttest_1samp([d - test.difference + edge for d in (0.3, -0.2, 0.1, 0.25, -0.1)], 0).pvalue == pytest.approx(
            SIGNIFICANCE
        )
        found = [verdicts([test] * tests, [gap] * tests)[0][1] for gap in (0.99 * edge, 1.01 * edge)]
        assert found == [TOO_FEW_SEEDS, NOT_SIGNIFICANT]


def test_the_pairs_of_a_factor_share_no_network(digits: MeasuredStudy) -> None:
    models = {row.record.model for row in digits.rows}
    for factor in FACTORS:
        networks = [model for pair in factor_pairs(factor, models) for model in pair]
        assert len(networks) == len(set(networks)) == 8


def test_one_correction_runs_over_all_questions_of_the_study(digits: MeasuredStudy) -> None:
    tests = [effect.test for effect in digits.effects if effect.test is not None]
    smallest = min(digits.effects, key=lambda effect: effect.test.p if effect.test else 1.0)
    assert smallest.test is not None
    assert smallest.adjusted_p == pytest.approx(len(tests) * smallest.test.p)


def test_the_board_and_the_study_show_one_record_for_a_model(evidence: Evidence, digits: MeasuredStudy) -> None:
    model = "mgnet_2_2_c32_bl"
    (row,) = [row for row in board(evidence) if (row.model, row.dataset) == (model, "digits")]
    assert len(row.measured) == 2
    assert row.headline is not None
    assert (row.headline.recipe.name, row.headline.execution.form) == ("digits", "residual")
    (shown,) = [line for line in digits.rows if line.record == row.headline]
    assert shown.mean == row.headline.summary.accuracy_last_mean
    (form,) = digits.other
    assert form.records[0] == row.headline.id


def test_the_committed_document_is_what_the_records_give_today(tmp_path: Path) -> None:
    out = tmp_path / "study.md"
    assert main(["study", "--results", str(RESULTS), "--out", str(out)]) == 0
    committed = (ROOT / "docs" / "DIGITS_STUDY.md").read_text(encoding="utf-8")
    assert out.read_text(encoding="utf-8") == committed, "write it again with mgnet-leaderboard study --out docs/DIGITS_STUDY.md"


def test_the_page_and_the_document_give_the_same_verdicts(
    tmp_path: Path, all_of_digits: tuple[MeasuredStudy, ...], evidence: Evidence
) -> None:
    arguments = ["build", "--results", str(RESULTS), "--records", str(tmp_path / "none"), "--out", str(tmp_path / "site")]
    assert main(arguments) == 0
    page = (tmp_path / "site" / "digits.html").read_text(encoding="utf-8")
    document = (ROOT / "docs" / "DIGITS_STUDY.md").read_text(encoding="utf-8")
    for verdict in (SIGNIFICANT, REVERSED, NOT_SIGNIFICANT, TOO_FEW_SEEDS):
        expected = sum(effect.verdict == verdict for study in all_of_digits for effect in study.effects)
        shown = len(re.findall(rf'<span class="(?:good|bad|unknown)">(?:[✓≠] )?{verdict}</span>', page))
        assert shown == document.count(f"| {verdict} |") == expected, verdict
    assert evidence.claims is not None
    flat = " ".join(document.split())
    for study in all_of_digits:
        for sentence in study_sentences(study, evidence.claims):
            assert sentence in flat


def test_the_study_says_what_its_runs_show(digits: MeasuredStudy, evidence: Evidence) -> None:
    assert evidence.claims is not None
    text = " ".join(study_sentences(digits, evidence.claims))
    assert "The paper orders 37 pairs of these networks: 0 significant, 0 significant and reversed" in text
    assert "One effect is significant: pre-act ResNet against ResNet, +1.39 ± 0.55 points" in text
    assert "One A for a whole grid, ResNet and pre-act ResNet: -0.42 ± 0.58 points" in text
    assert "The paper reports a difference of at most 0.35." in text
    assert "is number 14 of 16 here, equal with 1 other" in text


@pytest.fixture
def transfers(evidence: Evidence, measured: Callable[..., Measured]) -> MeasuredStudy:
    """Three schemes with each kind of transfers: lin/lin gains 3.3 points by them, the others nothing."""
    gains = {"gdfi_lin_lin": 12, "gdfi_lin_both": 0, "gdfi_pre_pre": 0}
    records = [
        measured(
            tuple(330 + seed % 2 + (gain if sigma == "norm_act" else 0) for seed in range(6)),
            series=f"{model} {sigma}",
            model=model,
            model_args={} if sigma == "norm_act" else {"transfer_sigma": sigma},
        )
        for model, gain in gains.items()
        for sigma in ("none", "norm", "norm_act")
    ]
    (study,) = studies(records, evidence.claims, evidence.comparisons)
    return study


def test_what_a_plan_asks_is_answered_for_all_schemes_and_for_those_that_it_names(transfers: MeasuredStudy) -> None:
    planned = {(effect.better, effect.worse): effect for effect in transfers.effects if effect.plan}
    pooled = [effect for effect in planned.values() if effect.kind == "pooled"]
    assert [(effect.pairs, round(effect.difference, 2)) for effect in pooled] == [(3, 1.11), (3, 0.0), (3, 1.11)]
    alone = [effect for effect in planned.values() if effect.kind == "pair"]
    assert [(effect.better.partition(" ")[0], round(effect.difference, 2), effect.margin) for effect in alone] == [
        ("gdfi_lin_lin", 3.33, None),
        ("gdfi_lin_both", 0.0, 0.35),
    ]


def test_the_words_of_a_plan_say_that_it_came_first_and_what_its_margin_gives(transfers: MeasuredStudy, evidence: Evidence) -> None:
    assert evidence.claims is not None
    sentences = study_sentences(transfers, evidence.claims)
    planned = [sentence for sentence in sentences if "asked before the runs (docs/plans/transfers.md)" in sentence]
    assert len(planned) == 5
    assert not any("asked after" in sentence for sentence in planned)
    (equal,) = (sentence for sentence in planned if "within 0.35 points of zero" in sentence)
    assert equal.startswith("gdfi_lin_both")
    assert "equal by the plan" in equal
    (ranks,) = (sentence for sentence in sentences if "reports the highest accuracy of the schemes" in sentence)
    assert "with transfers none" in ranks
    assert "with transfers norm_act" in ranks


def test_a_run_that_diverged_takes_its_seed_out_of_its_pair_alone(evidence: Evidence, measured: Callable[..., Measured]) -> None:
    records = [
        measured(
            tuple(330 + 4 * (sigma == "norm_act") + seed for seed in range(5 if (model, sigma) == ("gdfi_lin_lin", "none") else 6)),
            series=f"{model} {sigma}",
            model=model,
            model_args={} if sigma == "norm_act" else {"transfer_sigma": sigma},
        )
        for model in ("gdfi_lin_lin", "gdfi_lin_both")
        for sigma in ("none", "norm", "norm_act")
    ]
    (study,) = studies(records, evidence.claims, evidence.comparisons)
    pooled = next(effect for effect in study.effects if effect.plan)
    assert (pooled.pairs, round(pooled.difference, 2)) == (2, 1.11)
    (alone,) = (effect for effect in study.effects if effect.plan and effect.better.startswith("gdfi_lin_lin"))
    assert round(alone.difference, 2) == 1.11  # the seeds 0 to 4 of both


def test_without_all_three_transfers_nothing_of_the_plan_is_asked(digits: MeasuredStudy) -> None:
    assert not any(effect.plan for effect in digits.effects)
