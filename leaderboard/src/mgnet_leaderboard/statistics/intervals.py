"""Confidence and prediction intervals of a few seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from functools import cache

# Of every interval that is shown.
CONFIDENCE = 0.95


def half_width(values: Sequence[float]) -> float | None:
    """Half the Student interval of the mean, in the unit of the values; None for one value."""
    if len(values) < 2:
        return None
    return student_quantile((1 + CONFIDENCE) / 2, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))


def prediction_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Where one more run would fall, with this confidence: what a single printed number is compared with; None for one value."""
    half = half_width(values)
    if half is None:
        return None
    mean = statistics.fmean(values)
    reach = half * math.sqrt(len(values) + 1)
    return mean - reach, mean + reach


@cache
def student_quantile(probability: float, freedom: float) -> float:
    """Student's t below which a variable of `freedom` degrees falls with this probability."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, probability))


def student_two_sided(t: float, freedom: float) -> float:
    """The probability that |T| of `freedom` degrees is at least |t|."""
    from scipy.special import stdtr

    return 2 * float(stdtr(freedom, -abs(t)))
