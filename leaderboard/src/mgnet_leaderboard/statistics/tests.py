"""What a finite test set can resolve: the sampling error of printed accuracies, and Holm's correction for many looks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

LEVEL = 0.05


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """A difference in points, in standard errors of test-set sampling, and its two-sided p-value."""

    difference: float
    z: float
    p: float


def judge(better: float, worse: float, n: int) -> Judgement:
    """Compare two accuracies in percent on n test images as if the images were drawn anew for each model.

    Two models share most of their errors, so the paired error is smaller; it needs the predictions per image, which are
    not printed. The spread over seeds is not printed either and is not part of this.
    """
    p, q = better / 100, worse / 100
    error = math.sqrt((p * (1 - p) + q * (1 - q)) / n)
    if error == 0:
        return Judgement(difference=better - worse, z=0.0, p=1.0)
    z = (p - q) / error
    return Judgement(difference=better - worse, z=z, p=2 * NormalDist().cdf(-abs(z)))


def resolved_difference(accuracy: float, n: int) -> float:
    """The smallest difference in points, near this accuracy in percent, that reaches the 5 % level on n images."""
    p = accuracy / 100
    return 100 * NormalDist().inv_cdf(1 - LEVEL / 2) * math.sqrt(2 * p * (1 - p) / n)


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Holm's adjusted p-values, in the order given: below 0.05 means the family-wise error is below 5 %."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for rank, i in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = running
    return tuple(adjusted)
