"""What a few seeds say: intervals for a mean, and differences between two models trained the same way."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from functools import cache

LEVEL = 0.95


def half_width(values: Sequence[float]) -> float | None:
    """Half the 95 % Student interval of the mean, in the unit of the values; None for one seed."""
    if len(values) < 2:
        return None
    return _quantile(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))


@cache
def _quantile(freedom: int) -> float:
    """Student's t for the level; one record asks for it several times."""
    from scipy.stats import t  # type: ignore[import-untyped]

    return float(t.ppf((1 + LEVEL) / 2, freedom))


def prediction_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Where one more run would fall with 95 %: what a single printed number is compared with; None for one seed."""
    half = half_width(values)
    if half is None:
        return None
    mean = statistics.fmean(values)
    reach = half * math.sqrt(len(values) + 1)
    return mean - reach, mean + reach


def welch_p(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Two-sided p-value of Welch's test; None where a side has one seed, or neither side varies at all."""
    if min(len(first), len(second)) < 2 or statistics.stdev(first) == statistics.stdev(second) == 0:
        return None
    from scipy.stats import ttest_ind

    return float(ttest_ind(first, second, equal_var=False).pvalue)
