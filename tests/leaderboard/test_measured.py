"""Measured records: what must hold for any runs, whatever the order in which they arrive."""

from __future__ import annotations

import random
from collections.abc import Callable
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mgnet_leaderboard.records.measured import (
    Measured,
    SeedRun,
    fault_of_measured,
    first_of_each_seed,
    headline_first,
    measured_id,
    merged,
    record_of,
    summarize,
)
from mgnet_leaderboard.records.union import RECORD, text_of
from mgnet_leaderboard.site.filters import two_decimals
from mgnet_records.run_result import (
    CorrectCounts,
    DatasetPart,
    Environment,
    Execution,
    RecipePart,
    RunResult,
    percent,
    recipe_sha256,
)

N = 360


@st.composite
def results(draw: st.DrawFn) -> list[RunResult]:
    """Finished runs of one identity: any seeds, any counts, finishing at any time, each run once."""
    size = draw(st.integers(1, 6))
    seconds = draw(st.lists(st.integers(0, 59), min_size=size, max_size=size))
    return [
        _result(draw(st.integers(0, 3)), draw(st.integers(0, N)), number, second) for number, second in enumerate(seconds, start=1)
    ]


def _result(seed: int, correct: int, number: int, second: int) -> RunResult:
    return RunResult(
        run_id=f"{number:032x}",
        model="mgnet_2_2_c32_bl",
        notation=None,
        model_args={"in_chans": 1, "num_classes": 10},
        parameters=56_618,
        dataset=DatasetPart(name="digits", split="test", n=N, sha256="a" * 64),
        recipe=RecipePart(name="digits", sha256=recipe_sha256({}), values={}),
        execution=Execution(
            device="cpu",
            precision="deterministic",
            layout="contiguous",
            convolution="direct",
            kernel_backend=None,
            recompute="none",
            form="residual",
            threads=1,
            processes=1,
        ),
        seed=seed,
        epochs=1,
        commit=None,
        dirty=None,
        environment=Environment(python="3", torch="2", timm="1", packages={}, cuda=None, device="cpu", cpu=None, os="Linux"),
        test=CorrectCounts(n=N, correct_last=correct, correct_best=N),
        train_seconds=1.0,
        images_per_second=1437.0,
        started="2026-01-01T00:00:00Z",
        finished=f"2026-01-01T00:00:{second:02d}Z",
        checkpoint_sha256=f"{number:064x}",
    )


def joined(found: list[RunResult]) -> Measured:
    return merged(record_of(result) for result in found)


@given(results(), st.randoms())
def test_the_record_does_not_depend_on_the_order_in_which_runs_arrive(found: list[RunResult], chance: random.Random) -> None:
    shuffled = list(found)
    chance.shuffle(shuffled)
    assert joined(found) == joined(shuffled)


@given(results(), st.integers(0, 6))
def test_joining_in_two_parts_is_joining_at_once(found: list[RunResult], cut: int) -> None:
    parts = [joined(part) for part in (found[:cut], found[cut:]) if part]
    assert merged(parts) == joined(found)


@given(results())
def test_joining_a_record_with_itself_changes_nothing(found: list[RunResult]) -> None:
    record = joined(found)
    assert merged([record, record]) == record


@given(results())
def test_a_joined_record_is_sound_and_survives_its_file(found: list[RunResult]) -> None:
    record = joined(found)
    assert fault_of_measured(record) is None
    assert record.id == measured_id(record)
    assert RECORD.validate_json(text_of(record)) == record
    assert text_of(RECORD.validate_json(text_of(record))) == text_of(record)


@given(results())
def test_no_run_of_a_seed_finished_before_the_one_that_counts(found: list[RunResult]) -> None:
    counted = {run.seed: run for run in joined(found).runs}
    assert set(counted) == {result.seed for result in found}
    for result in found:
        first = counted[result.seed]
        assert (first.finished, first.run_id) <= (result.finished, result.run_id)


@given(results())
def test_the_mean_is_the_exact_share_of_correct_answers(found: list[RunResult]) -> None:
    runs: tuple[SeedRun, ...] = first_of_each_seed(joined(found).runs)
    exact = Fraction(100 * sum(run.correct_last for run in runs), N * len(runs))
    assert abs(Fraction(summarize(runs, N).accuracy_last_mean) - exact) < Fraction(1, 10**6)


@given(st.integers(1, 60_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_two_decimals_of_an_accuracy_are_within_half_a_hundredth_of_the_exact_share(pair: tuple[int, int]) -> None:
    correct, n = pair
    assert abs(Fraction(two_decimals(percent(correct, n))) - Fraction(100 * correct, n)) <= Fraction(1, 200) + Fraction(1, 10**9)


Change = dict[str, object]


@pytest.mark.parametrize(
    "changes",
    [{"recipe": "digits+"}, {"execution": "feature"}, {"corrects": (360,)}],
    ids=["a_changed_recipe", "another_form", "fewer_seeds"],
)
def test_the_headline_is_the_plain_record_and_never_the_best_one(measured: Callable[..., Measured], changes: Change) -> None:
    plain = measured((350, 351, 352))
    best = measured(tuple(changes.get("corrects", (360, 360, 360, 360))), series="best")  # type: ignore[arg-type]
    recipe = best.recipe.model_copy(update={"name": changes.get("recipe", "digits")})
    execution = best.execution.model_copy(update={"form": changes.get("execution", "residual")})
    other = best.model_copy(update={"recipe": recipe, "execution": execution})
    assert headline_first([other, plain]) == headline_first([plain, other]) == (plain, other)
