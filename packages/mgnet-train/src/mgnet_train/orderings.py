"""Whether an ordering reappears: two arms compared seed by seed.

With the same seeds on both sides the differences are paired; an ordering counts when the 95 % interval of their mean
excludes zero (Student's t), and lies inside the noise otherwise. Nothing is corrected for the number of pairs: of
orderings without any effect, one in twenty would count.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["reappears", "reversed", "inside noise", "equal in print"]

# Two-sided 95 % quantiles of Student's t for 1, 2, ... degrees of freedom.
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)


@dataclass(frozen=True, kw_only=True)
class Ordering:
    """`better` beats `worse` by `printed_gap` points in print and by `gap` +- `half_width` points here."""

    better: str
    worse: str
    printed_gap: float
    gap: float
    half_width: float

    @property
    def verdict(self) -> Verdict:
        if self.printed_gap == 0:
            return "equal in print"
        if abs(self.gap) <= self.half_width:
            return "inside noise"
        return "reappears" if self.gap > 0 else "reversed"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The accuracies of one arm in percent, in the order of the seeds, and the printed one."""

    label: str
    accuracies: tuple[float, ...]
    printed: float | None

    @property
    def mean(self) -> float:
        return statistics.fmean(self.accuracies)

    @property
    def deviation(self) -> float:
        """Sample standard deviation over the seeds."""
        return statistics.stdev(self.accuracies) if len(self.accuracies) > 1 else math.nan


def orderings(arms: list[Measured]) -> list[Ordering]:
    """Every pair with printed accuracies, the better in print first."""
    printed = [(arm, arm.printed) for arm in arms if arm.printed is not None]
    ranked = sorted(printed, key=lambda pair: -pair[1])
    return [
        _ordering(better, worse, high - low) for index, (better, high) in enumerate(ranked) for worse, low in ranked[index + 1 :]
    ]


def _ordering(better: Measured, worse: Measured, printed_gap: float) -> Ordering:
    gap, half_width = paired_gap(better.accuracies, worse.accuracies)
    return Ordering(better=better.label, worse=worse.label, printed_gap=round(printed_gap, 6), gap=gap, half_width=half_width)


def paired_gap(first: tuple[float, ...], second: tuple[float, ...]) -> tuple[float, float]:
    """Mean of the paired differences and half the width of its 95 % interval; infinite for a single pair."""
    differences = [a - b for a, b in zip(first, second, strict=True)]
    freedom = len(differences) - 1
    if freedom < 1:
        return differences[0], math.inf
    quantile = _T[min(freedom, len(_T)) - 1]
    return statistics.fmean(differences), quantile * statistics.stdev(differences) / math.sqrt(len(differences))
