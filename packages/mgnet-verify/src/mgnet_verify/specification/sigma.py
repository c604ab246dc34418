"""sigma of the paper as its released code has it: BatchNorm, then ReLU; with statistics stored or taken from the batch.

A rule, `Callable[[Sigma, Array], Array]`, says how sigma is applied; the algorithms take the rule as an argument, so that
evaluation and training are the same algorithm.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from mgnet_verify.specification.exactness import ExactnessError, claim, claim_apart, is_guarded, stored
from mgnet_verify.specification.operators import Array, add, magnitude


@dataclass(frozen=True, kw_only=True)
class Normalization:
    """One BatchNorm: per-channel arrays (c,), the floor eps of the variance and the momentum of its running averages.

    Without `trained` weight and bias are the constants 1 and 0.
    """

    weight: Array
    bias: Array
    mean: Array
    variance: Array
    eps: float
    momentum: float
    trained: bool = True


@dataclass(frozen=True, kw_only=True, eq=False)
class Sigma:
    """sigma = ReLU o BatchNorm; without `normalization` ReLU alone; with `relu=False` no sigma, as Algorithm 2 after Pi and R.

    `shift` (c,) is a learned threshold that stands in the place of a normalization.
    """

    normalization: Normalization | None = None
    relu: bool = True
    shift: Array | None = None


Rule = Callable[[Sigma, Array], Array]

# What BatchNorm's output is multiplied by before it is rounded. Few values with a small variance make outputs such as 9/8
# common; no multiple of pi puts a rational or algebraic number half way between two integers.
ROUNDING_SCALE = 1.25 * math.pi


def rectify(x: Array) -> Array:
    """max(x, 0); of a dual number both parts or none, by its real part."""
    claim_apart(np.real(x))
    return np.where(np.real(x) > 0, x, 0)


def channels(values: Array) -> Array:
    """(c,) -> (1, c, 1, 1), to meet a field."""
    return values[None, :, None, None]


def evaluate(sigma: Sigma, x: Array) -> Array:
    """sigma with stored statistics, an affine map for each channel: scale (x - mean) + bias.

    With integer weight, bias, mean and variance + eps = 4^-k the scale weight 2^k is an integer. Exactness bound:
    |scale| (max|x| + |mean|) + |bias|, which also covers programs that compute scale x + (bias - scale mean).
    """
    norm = sigma.normalization
    if norm is not None:
        scale = norm.weight / np.sqrt(norm.variance + norm.eps)
        if is_guarded():
            claim(float((np.abs(scale) * (magnitude(x) + np.abs(norm.mean)) + np.abs(norm.bias)).max()))
        x = stored(channels(scale) * (x - channels(norm.mean)) + channels(norm.bias))
    return _ending(sigma, x)


def _ending(sigma: Sigma, x: Array) -> Array:
    """What follows a normalization: the threshold and ReLU, where sigma has them."""
    if sigma.shift is not None:
        x = add(x, channels(sigma.shift))
    return rectify(x) if sigma.relu else x


@dataclass
class BatchStatistics:
    """The rule of training: sigma with the statistics of the batch, in numpy's long double, as integers: ROUNDING_SCALE y rounded.

    Rounding keeps everything after it exact; a correct program that rounds its own float64 values rounds alike unless one
    of them lies within its error of a tie, and then ExactnessError says so. That error, for n values a channel below m
    in absolute value: the mean errs by (n + 1) u m, the variance relatively by n u (1 + mean^2/var) (see the running
    statistics' bounds), so y by at most (n + 8) u ((1 + mean^2/(var + eps)) |weight| (m + |mean|) / sqrt(var + eps) +
    |bias|) to first order, u = 2^-53; four times that is kept clear. A channel of equal values has their mean exactly, in
    every order of summation, and y = bias.

    Without `rounded` nothing is rounded, in float64, and dual numbers pass: statistics, too, have derivatives. Results are then
    compared within a stated bound; a channel whose variance is below 2^-30 times its squared mean raises ExactnessError.

    `seen` holds, for each Normalization by the identity of its running mean, which dual numbers share, the batch's mean, its
    biased variance and the count; `largest` the largest absolute value.
    """

    seen: dict[int, tuple[Array, Array, int]] = field(default_factory=dict)
    largest: dict[int, float] = field(default_factory=dict)
    rounded: bool = True

    def __call__(self, sigma: Sigma, x: Array) -> Array:
        """Apply sigma to (b, c, h, w); ExactnessError for a single value a channel, whose variance is none, and near a tie."""
        norm = sigma.normalization
        if norm is None:
            return _ending(sigma, x)
        n = x.size // x.shape[1]
        if n < 2:
            raise ExactnessError("a batch of one image on a grid of one pixel has no variance")
        if not self.rounded:
            return self._by_batch(sigma, norm, x, n)
        wide = x.astype(np.longdouble)
        mean, variance = wide.mean(axis=(0, 2, 3)), wide.var(axis=(0, 2, 3))
        self.seen[id(norm.mean)], self.largest[id(norm.mean)] = (mean, variance, n), magnitude(x)
        spread = np.sqrt(variance + norm.eps)
        y = (wide - channels(mean)) / channels(spread) * channels(norm.weight) + channels(norm.bias)
        condition = np.where(variance > 0, (1 + mean**2 / spread**2) / spread, 0)
        error = (n + 8) * 2.0**-53 * (condition * np.abs(norm.weight) * (magnitude(x) + np.abs(mean)) + np.abs(norm.bias))
        return _rounded(_ending(sigma, y), 4 * channels(error))

    def _by_batch(self, sigma: Sigma, norm: Normalization, x: Array, n: int) -> Array:
        mean = x.mean(axis=(0, 2, 3))
        centered = x - channels(mean)
        variance = (centered**2).mean(axis=(0, 2, 3))
        real_mean, real_variance = np.real(mean), np.real(variance)
        self.seen[id(norm.mean)], self.largest[id(norm.mean)] = (real_mean, real_variance, n), magnitude(x)
        if ((real_variance > 0) & (real_variance < 2.0**-30 * real_mean**2)).any():
            raise ExactnessError("the variance of a channel is too small beside its mean to be computed alike by every program")
        y = centered / channels(np.sqrt(variance + norm.eps)) * channels(norm.weight) + channels(norm.bias)
        return _ending(sigma, y)

    def running(self, norm: Normalization) -> tuple[Array, Array]:
        """Running mean and variance after this batch; the variance is the unbiased one, as torch documents."""
        mean, variance, count = self.seen[id(norm.mean)]
        kept, unbiased = 1 - norm.momentum, variance * count / (count - 1)
        return kept * norm.mean + norm.momentum * mean, kept * norm.variance + norm.momentum * unbiased


def _rounded(y: Array, error: Array) -> Array:
    scaled = np.longdouble(ROUNDING_SCALE) * y
    if (np.abs(scaled - np.floor(scaled) - 0.5) <= ROUNDING_SCALE * error).any():
        raise ExactnessError("a value lies too near a tie to be rounded alike by every correct program")
    return np.rint(scaled).astype(np.float64)
