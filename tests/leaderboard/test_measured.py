"""Measured records: what must hold for any runs, whatever the order in which they arrive."""

from __future__ import annotations

import json
import random
from fractions import Fraction
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mgnet_leaderboard.accuracy import percent, written
from mgnet_leaderboard.records.measured import Measured, Run, fault_of_measured, first_of_each_seed, measured_id, summarise
from mgnet_leaderboard.run_result import RunResult, merged, single_run_record
from mgnet_leaderboard.store.schema import RECORD, text_of

N = 360


@st.composite
def results(draw: st.DrawFn) -> list[RunResult]:
    """Finished runs of one identity: any seeds, any counts, finishing at any time, each run once."""
    size = draw(st.integers(1, 6))
    seconds = draw(st.lists(st.integers(0, 59), min_size=size, max_size=size))
    return [
        RunResult.model_validate_json(json.dumps(_result(draw(st.integers(0, 3)), draw(st.integers(0, N)), number, second)))
        for number, second in enumerate(seconds)
    ]


def _result(seed: int, correct: int, number: int, second: int) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "kind": "run",
        "mlflow_run_id": f"{number:032x}",
        "model": "mgnet_2_2_c32_bl",
        "notation": None,
        "model_args": {"in_chans": 1, "num_classes": 10},
        "parameters": 56_618,
        "dataset": {"name": "digits", "split": "test", "n": N, "sha256": "a" * 64},
        "recipe": {"name": "digits", "sha256": "b" * 64, "values": {}},
        "seed": seed,
        "epochs": 1,
        "commit": None,
        "dirty": True,
        "environment": {
            "python": "3",
            "torch": "2",
            "timm": "1",
            "cuda": None,
            "device": "cpu",
            "cpu": None,
            "os": "Linux",
            "threads": 1,
        },
        "test": {"n": N, "correct_last": correct, "correct_best": N},
        "train_seconds": 1.0,
        "images_per_second": 10.5,
        "started": "2026-01-01T00:00:00Z",
        "finished": f"2026-01-01T00:00:{second:02d}Z",
        "checkpoint_sha256": f"{number:064x}",
    }


def joined(found: list[RunResult]) -> Measured:
    return merged(single_run_record(result) for result in found)


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
        assert (first.finished, first.mlflow_run_id) <= (result.finished, result.mlflow_run_id)


@given(results())
def test_the_mean_is_the_exact_share_of_right_answers(found: list[RunResult]) -> None:
    runs: tuple[Run, ...] = first_of_each_seed(joined(found).runs)
    exact = Fraction(100 * sum(run.correct_last for run in runs), N * len(runs))
    assert abs(Fraction(summarise(runs, N).accuracy_last_mean) - exact) < Fraction(1, 10**6)


@given(st.integers(1, 60_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_two_decimals_of_an_accuracy_are_within_half_a_hundredth_of_the_exact_share(pair: tuple[int, int]) -> None:
    correct, n = pair
    assert abs(Fraction(written(percent(correct, n))) - Fraction(100 * correct, n)) <= Fraction(1, 200) + Fraction(1, 10**9)
