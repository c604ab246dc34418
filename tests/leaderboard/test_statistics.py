"""The statistics of the page: intervals, tests, multiplicity, Pareto fronts; against scipy, arithmetic and properties."""

from __future__ import annotations

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm, t

from mgnet_leaderboard.site.svg.scatter import Point, linear_axis, logarithmic_axis, pareto_front, short_number
from mgnet_leaderboard.statistics.intervals import half_width, prediction_interval
from mgnet_leaderboard.statistics.tests import (
    compare_seeds,
    detectable_on_test_set,
    difference_on_test_set,
    holm,
)

ACCURACIES = st.floats(1, 99.9)
P_VALUES = st.lists(st.floats(0, 1), max_size=12)


def test_the_interval_of_three_seeds_is_students() -> None:
    values = [99.1, 99.5, 98.9]
    assert half_width(values) == pytest.approx(t.ppf(0.975, 2) * statistics.stdev(values) / math.sqrt(3))


def test_one_seed_has_no_interval_and_no_test() -> None:
    assert half_width([99.0]) is None
    assert prediction_interval([99.0]) is None
    assert compare_seeds({0: 99.0}, {0: 98.0, 1: 98.5}) is None


@given(st.lists(ACCURACIES, min_size=2, max_size=8))
def test_a_single_further_run_is_predicted_less_sharply_than_the_mean(values: list[float]) -> None:
    half, interval = half_width(values), prediction_interval(values)
    assert half is not None
    assert interval is not None
    assert (interval[1] - interval[0]) / 2 == pytest.approx(half * math.sqrt(len(values) + 1))


def test_equal_seeds_on_both_sides_are_not_tested() -> None:
    assert compare_seeds({0: 99.0, 1: 99.0}, {0: 98.0, 1: 98.0}) is None


@given(ACCURACIES, ACCURACIES, st.integers(100, 50_000))
def test_a_comparison_changes_its_sign_and_nothing_else_when_the_pair_is_swapped(a: float, b: float, n: int) -> None:
    one, other = difference_on_test_set(a, b, n), difference_on_test_set(b, a, n)
    assert one.z == -other.z
    assert one.p == other.p


def test_the_detectable_difference_has_a_p_value_of_five_percent() -> None:
    near = detectable_on_test_set(80, 10_000)
    assert near == pytest.approx(1.11, abs=0.005)
    assert difference_on_test_set(80 + near / 2, 80 - near / 2, 10_000).p == pytest.approx(0.05, abs=1e-3)


def test_the_p_value_is_the_two_sided_normal_one() -> None:
    sampled = difference_on_test_set(81.0, 80.0, 10_000)
    assert sampled.p == pytest.approx(2 * norm.sf(sampled.z))


@given(P_VALUES)
def test_holm_never_makes_a_p_value_smaller_and_keeps_the_order(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(a >= p for a, p in zip(adjusted, p_values))
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    assert [adjusted[i] for i in order] == sorted(adjusted)


def test_holm_multiplies_by_the_number_of_looks_that_are_left() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx((0.03, 0.06, 0.06))


POINTS = st.builds(Point, x=st.floats(1, 1e9), y=ACCURACIES, half=st.none(), kind=st.just("measured"), label=st.just(""))


@given(st.lists(POINTS, min_size=1, max_size=15))
def test_no_point_beats_the_front_and_every_point_is_matched_by_it(points: list[Point]) -> None:
    front = pareto_front(points)
    assert all(not (p.x <= f.x and p.y > f.y) for f in front for p in points)
    assert all(any(f.x <= p.x and f.y >= p.y for f in front) for p in points)


@given(st.lists(st.floats(1, 1e12), min_size=1, max_size=10))
def test_every_value_lies_inside_its_axis(values: list[float]) -> None:
    for axis in (logarithmic_axis(values, 0, 100), linear_axis([min(v, 100.0) for v in values], 100, 0)):
        inside = values if axis.logarithmic else [min(v, 100.0) for v in values]
        assert all(0 <= axis.at(value) <= 100 for value in inside)
        assert all(0 <= axis.at(tick) <= 100 for tick in axis.ticks)


@pytest.mark.parametrize(
    "value, shown",
    [(8_301_924, "8.3M"), (3_602_670_592, "3.6G"), (56_618, "56.6k"), (7, "7")],
    ids=["millions", "billions", "thousands", "ones"],
)
def test_large_numbers_are_shown_short(value: float, shown: str) -> None:
    assert short_number(value) == shown
