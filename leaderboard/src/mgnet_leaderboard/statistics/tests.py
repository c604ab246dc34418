"""Significance tests: two variants over seeds, two printed accuracies on a test set, and Holm's correction for many of them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

from mgnet_leaderboard.statistics.intervals import CONFIDENCE, student_quantile, student_two_sided

# Of every test, after Holm's correction: the chance that any of the tests of a page is significant without an effect.
SIGNIFICANCE = 0.05

SignificanceVerdict = Literal["significant", "significant, reversed", "not significant", "too few seeds to tell"]
SIGNIFICANT: SignificanceVerdict = "significant"
REVERSED: SignificanceVerdict = "significant, reversed"
NOT_SIGNIFICANT: SignificanceVerdict = "not significant"
TOO_FEW_SEEDS: SignificanceVerdict = "too few seeds to tell"


@dataclass(frozen=True, kw_only=True)
class SeedTest:
    """A mean difference in points, its standard error and degrees of freedom; `paired` by seed, or Welch's test."""

    difference: float
    error: float
    freedom: float
    paired: bool

    @property
    def p(self) -> float:
        """Two-sided p-value of no difference, uncorrected."""
        return student_two_sided(self.difference / self.error, self.freedom)

    @property
    def half(self) -> float:
        """Half the confidence interval of the difference, in points."""
        return student_quantile((1 + CONFIDENCE) / 2, self.freedom) * self.error

    def detectable(self, tests: int) -> float:
        """The smallest difference, in points, that is significant with this spread as the first of `tests` in Holm's order."""
        return student_quantile(1 - SIGNIFICANCE / (2 * tests), self.freedom) * self.error


def compare_seeds(first: Mapping[int, float], second: Mapping[int, float]) -> SeedTest | None:
    """Compare two variants by their accuracies, in percent by seed; None where the seeds cannot tell anything.

    With the same seeds on both sides the test is paired: a seed gives both variants the same order of the data. It is
    Welch's with other seeds, and where the paired differences are all equal, which a paired test would take for certainty.
    """
    if min(len(first), len(second)) < 2:
        return None
    if first.keys() == second.keys():
        paired = compare_differences([first[seed] - second[seed] for seed in sorted(first)])
        if paired is not None:
            return paired
    return _welch(list(first.values()), list(second.values()))


def compare_differences(differences: Sequence[float]) -> SeedTest | None:
    """Student's test of a mean difference of zero; None for fewer than two differences, and when they are all equal."""
    # Accuracies are fractions of integers: what rounding alone makes of equal differences is no spread.
    if len(differences) < 2 or max(differences) - min(differences) < 1e-9:
        return None
    n = len(differences)
    error = statistics.stdev(differences) / math.sqrt(n)
    return SeedTest(difference=statistics.fmean(differences), error=error, freedom=n - 1, paired=True)


def _welch(first: Sequence[float], second: Sequence[float]) -> SeedTest | None:
    squares = [statistics.variance(values) / len(values) for values in (first, second)]
    if sum(squares) < 1e-18:
        return None
    # Welch-Satterthwaite: the degrees of freedom of a sum of two variances.
    freedom = sum(squares) ** 2 / sum(square**2 / (len(values) - 1) for square, values in zip(squares, (first, second)))
    difference = statistics.fmean(first) - statistics.fmean(second)
    return SeedTest(difference=difference, error=math.sqrt(sum(squares)), freedom=freedom, paired=False)


def verdicts(tests: Sequence[SeedTest | None], gaps: Sequence[float | None]) -> list[tuple[float | None, SignificanceVerdict]]:
    """Adjusted p-value and verdict of each test, with Holm's correction over all of them; `gaps` are the printed differences.

    A difference that is not significant has "too few seeds to tell" when no test is possible, or when even the printed
    gap would not have been significant with the observed spread, these seeds and this correction.
    """
    adjusted = iter(holm([test.p for test in tests if test is not None]))
    found = [None if test is None else next(adjusted) for test in tests]
    significant = sum(p is not None and p < SIGNIFICANCE for p in found)
    # In Holm's order the next p-value after the significant ones is multiplied by the number of tests that are left.
    left = max(1, sum(test is not None for test in tests) - significant)
    return [(p, _verdict(test, p, gap, left)) for test, p, gap in zip(tests, found, gaps)]


def _verdict(test: SeedTest | None, p: float | None, gap: float | None, left: int) -> SignificanceVerdict:
    if test is None or p is None:
        return TOO_FEW_SEEDS
    if p < SIGNIFICANCE:
        return SIGNIFICANT if test.difference > 0 else REVERSED
    return TOO_FEW_SEEDS if gap is not None and test.detectable(left) > abs(gap) else NOT_SIGNIFICANT


@dataclass(frozen=True, kw_only=True)
class SampledDifference:
    """A difference in points, in standard errors of test-set sampling, and its two-sided p-value."""

    difference: float
    z: float
    p: float


def difference_on_test_set(better: float, worse: float, n: int) -> SampledDifference:
    """Compare two accuracies in percent on n test images as if each model had its own sample of images.

    Two models share most of their errors, so the paired error is smaller; it needs the predictions per image, which are
    not printed. The spread over seeds is not printed either and is not part of this.
    """
    p, q = better / 100, worse / 100
    error = math.sqrt((p * (1 - p) + q * (1 - q)) / n)
    if error == 0:
        return SampledDifference(difference=better - worse, z=0.0, p=1.0)
    z = (p - q) / error
    return SampledDifference(difference=better - worse, z=z, p=2 * NormalDist().cdf(-abs(z)))


def detectable_on_test_set(accuracy: float, n: int) -> float:
    """The smallest difference in points, near this accuracy in percent, that one comparison on n images finds significant."""
    p = accuracy / 100
    return 100 * NormalDist().inv_cdf(1 - SIGNIFICANCE / 2) * math.sqrt(2 * p * (1 - p) / n)


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Holm's adjusted p-values, in the order given: below a level means that the family-wise error is below it."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for rank, i in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = running
    return tuple(adjusted)
