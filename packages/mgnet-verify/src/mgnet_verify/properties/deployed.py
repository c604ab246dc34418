"""The duality in the precision in which a network is used: a running bound, step by step, on its own weights.

Errors of a whole float32 run cannot be bounded usefully: a-priori bounds grow with every layer. Step by step they can,
since the theorem relates consecutive values that the model itself computed: take its own u and r as exact numbers, and
only the rounding of one evaluation of A enters.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import nn

from mgnet_verify.check.assertions import require_within
from mgnet_verify.check.example import Example, ExampleResult
from mgnet_verify.network.protocol import tensors_of, view_of
from mgnet_verify.network.trace import GridTrace, traced
from mgnet_verify.specification import Array, convolve


@dataclass(frozen=True, kw_only=True)
class Precision:
    """Unit roundoffs of the dtype in which results are stored and of the one in which products are added."""

    stored: float
    added: float

    @classmethod
    def of(cls, dtype: torch.dtype) -> Precision:
        """Lower precisions are added in float32, as oneDNN and cuDNN do; float32 and float64 in themselves."""
        stored = torch.finfo(dtype).eps / 2
        return cls(stored=stored, added=min(stored, 2.0**-24))

    def of_convolution(self, kernel: Array, x: Array) -> Array:
        """|fl(K x) - K x| <= g |K||x| + u (|K x| + g |K||x|), g = n v / (1 - n v).

        n terms on a path of at most n additions and one product round n + 1 times with unit v; storing rounds once with
        unit u. The float64 evaluation that the result is compared with errs 2^-29 times less for float32; doubling n
        covers it for every dtype.
        """
        n_v = 2 * (kernel[0].size + 1) * self.added
        g = n_v / (1 - n_v) * convolve(np.abs(kernel), np.abs(x))
        return g + self.stored * (np.abs(convolve(kernel, x)) + g)


def residuals_within_rounding(model: nn.Module, example: Example) -> ExampleResult:
    """In its own precision and with its own weights, each step of each form obeys the recursion up to the rounding of A.

    Residual form: r^i = fl(r^{i-1} - fl(A s)), so it differs from r^{i-1} - A s by the error of A s and one rounding, u |r^i|
    (1 + u). Feature form: r^i = fl(f - fl(A u^i)), so r^i - r^{i-1} + A (u^i - u^{i-1}) is at most the errors of A u^i and
    A u^{i-1}, and u (|r^i| + |r^{i-1}|) (1 + u). `largest_gap` is the largest error over its bound.
    """
    copied = copy.deepcopy(model).eval()
    view = view_of(copied)
    weight = view.theta.weight
    precision = Precision.of(weight.dtype)
    image = np.random.default_rng([example.seed, 6]).normal(size=example.shape)
    tensor = torch.from_numpy(image).to(weight)
    gap = 0.0
    for name in view.forms:
        seen = traced(view, view.forms[name], tensor)
        for grid, (here, tensors) in enumerate(zip(seen.grids, tensors_of(view).grids), start=1):
            steps = _feature_steps if name == "feature" else _residual_steps
            for iteration, (found, expected, bound) in enumerate(steps(here, tensors.A, precision, first=grid == 1), start=1):
                gap = max(
                    gap, require_within(f"{name} form as deployed: r", found, expected, bound, grid=grid, iteration=iteration)
                )
    return ExampleResult(largest_gap=gap)


Step = tuple[Array, Array, Array]


def _residual_steps(here: GridTrace, A: Array, precision: Precision, *, first: bool) -> list[Step]:
    once = precision.stored * (1 + precision.stored)
    return [
        (r_next, r - convolve(A, s), precision.of_convolution(A, s) + 2 * once * np.abs(r_next))
        for (r, r_next), s in zip(pairwise(here.r), here.to_A)
    ]


def _feature_steps(here: GridTrace, A: Array, precision: Precision, *, first: bool) -> list[Step]:
    once = precision.stored * (1 + precision.stored)
    features = here.to_A[0 if first else 1 :]
    return [
        (
            r_next,
            r - convolve(A, u_next - u),
            precision.of_convolution(A, u) + precision.of_convolution(A, u_next) + 2 * once * (np.abs(r) + np.abs(r_next)),
        )
        for (r, r_next), (u, u_next) in zip(pairwise(here.r), pairwise(features))
    ]
