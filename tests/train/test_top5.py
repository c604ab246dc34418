"""Top-5: the place of a class among the logits, and the count beside the accuracy in every output."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mgnet_records.run_result import CorrectCounts, fault_of_counts
from mgnet_train.runs.run import Options, Processes, RunSpec, fit
from mgnet_train.train.evaluation import ranks

LOGITS = arrays.arrays(
    np.float32, st.tuples(st.integers(1, 6), st.integers(1, 12)), elements=st.sampled_from([0.0, 1.0, 2.5, np.nan])
)


@given(LOGITS, st.integers(0, 10**6))
def test_the_places_are_those_of_a_stable_sort_and_the_first_is_the_answer(logits: np.ndarray[Any, Any], seed: int) -> None:
    labels = np.random.default_rng(seed).integers(0, logits.shape[1], len(logits))
    seen = ranks(torch.from_numpy(logits), torch.from_numpy(labels)).numpy()
    order = np.argsort(-np.nan_to_num(logits, nan=1e9), axis=1, kind="stable")
    assert seen.tolist() == [row.tolist().index(label) for row, label in zip(order, labels)]
    assert ((seen == 0) == (torch.from_numpy(logits).argmax(1).numpy() == labels)).all()


def test_a_run_counts_it_beside_the_accuracy(tiny_spec: Callable[..., RunSpec], quietly: Options, one_process: Processes) -> None:
    result = fit(tiny_spec(epochs="1"), quietly, one_process).result
    assert result.test.correct_top5 is not None
    assert result.test.correct_last <= result.test.correct_top5 <= result.test.n
    assert result.accuracy_top5 == 100 * result.test.correct_top5 / result.test.n


@pytest.mark.parametrize("top5, sound", [(None, True), (90, True), (100, True), (89, False), (101, False)])
def test_a_count_below_the_correct_answers_or_above_the_images_is_a_fault(top5: int | None, sound: bool) -> None:
    counts = CorrectCounts(n=100, correct_last=90, correct_best=95, correct_top5=top5)
    assert (fault_of_counts(counts) is None) == sound
