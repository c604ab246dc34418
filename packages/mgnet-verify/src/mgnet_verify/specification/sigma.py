"""sigma of the paper as its released code has it: BatchNorm, then ReLU; with statistics stored or taken from the batch.

A rule, `Callable[[Sigma, Array], Array]`, says how sigma is applied; the algorithms take the rule as an argument, so that
evaluation and training are the same algorithm.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from mgnet_verify.specification.exactness import claim, is_guarded
from mgnet_verify.specification.operators import Array, magnitude


@dataclass(frozen=True, kw_only=True)
class Normalisation:
    """One BatchNorm: per-channel arrays (c,), the floor eps of the variance and the momentum of its running averages."""

    weight: Array
    bias: Array
    mean: Array
    variance: Array
    eps: float
    momentum: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Sigma:
    """sigma = ReLU o BatchNorm; without `normalisation` ReLU alone, with `relu=False` the identity of Algorithm 2 as printed."""

    normalisation: Normalisation | None = None
    relu: bool = True


Rule = Callable[[Sigma, Array], Array]


def rectify(x: Array) -> Array:
    """max(x, 0)."""
    return np.maximum(x, 0)


def channels(values: Array) -> Array:
    """(c,) -> (1, c, 1, 1), to meet a field."""
    return values[None, :, None, None]


def evaluate(sigma: Sigma, x: Array) -> Array:
    """sigma with stored statistics, an affine map for each channel: scale (x - mean) + bias.

    With integer weight, bias, mean and variance + eps = 4^-k the scale weight 2^k is an integer. Exactness bound:
    |scale| (max|x| + |mean|) + |bias|, which also covers programs that compute scale x + (bias - scale mean).
    """
    norm = sigma.normalisation
    if norm is not None:
        scale = norm.weight / np.sqrt(norm.variance + norm.eps)
        if is_guarded():
            claim(float((np.abs(scale) * (magnitude(x) + np.abs(norm.mean)) + np.abs(norm.bias)).max()))
        x = channels(scale) * (x - channels(norm.mean)) + channels(norm.bias)
    return rectify(x) if sigma.relu else x


@dataclass
class BatchStatistics:
    """The rule of training: sigma with the statistics of the batch, in numpy's long double, rounded to quarters if asked.

    `seen` keeps, for each Normalisation by identity, the batch's mean, its biased variance and the count, from which
    `running` derives the averages that training leaves behind. `nearest_tie` is the least distance of a value from a
    point where rounding to quarters would go the other way; a caller that compares rounded values needs it to exceed
    the rounding error of the program under test.
    """

    round_to_quarters: bool = False
    nearest_tie: float = np.inf
    seen: dict[int, tuple[Array, Array, int]] = field(default_factory=dict)

    def __call__(self, sigma: Sigma, x: Array) -> Array:
        """Apply sigma to (b, c, h, w)."""
        norm = sigma.normalisation
        if norm is None:
            return rectify(x) if sigma.relu else x
        wide = x.astype(np.longdouble)
        mean, variance = wide.mean(axis=(0, 2, 3)), wide.var(axis=(0, 2, 3))
        self.seen[id(norm)] = (mean, variance, x.size // x.shape[1])
        y = (wide - channels(mean)) / np.sqrt(channels(variance) + norm.eps) * channels(norm.weight) + channels(norm.bias)
        y = rectify(y) if sigma.relu else y
        return self._rounded(y) if self.round_to_quarters else y.astype(x.dtype)

    def _rounded(self, y: Array) -> Array:
        quarters = 4 * y
        distance = np.abs(quarters - np.floor(quarters) - 0.5)
        self.nearest_tie = min(self.nearest_tie, float(distance.min()) / 4)
        return np.rint(quarters).astype(np.float64)

    def running(self, norm: Normalisation) -> tuple[Array, Array]:
        """Running mean and variance after this batch; the variance is the unbiased one, as torch documents."""
        mean, variance, count = self.seen[id(norm)]
        unbiased = variance * count / (count - 1)
        return (
            (1 - norm.momentum) * norm.mean + norm.momentum * mean,
            (1 - norm.momentum) * norm.variance + norm.momentum * unbiased,
        )
