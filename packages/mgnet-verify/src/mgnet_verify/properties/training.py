"""Training mode: both forms with the statistics of the batch, exactly, and the running statistics they leave behind.

BatchNorm on batch statistics is not exact in floating point. A hook scales its output and rounds it to
integers; the correction stays a function of r alone, so the theorem is untouched and `==` decides. The specification
computes in long double and rounds too; `BatchStatistics` bounds the errors and discards examples with a value too near a
tie.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

import numpy as np
import torch
from torch import Tensor, nn

from mgnet_verify.check.assertions import require_within
from mgnet_verify.check.example import Example, ExampleResult
from mgnet_verify.check.oracle import exact_or_undecided
from mgnet_verify.errors import Violation
from mgnet_verify.network.protocol import GridView, NetworkView, sigma_of, tensors_of, view_of
from mgnet_verify.network.trace import traced, unique
from mgnet_verify.properties.algorithm_2 import compare_trace
from mgnet_verify.specification import BatchStatistics, NetTensors, algorithm_2
from mgnet_verify.specification.sigma import ROUNDING_SCALE


def trains_as_specified(model: nn.Module, example: Example) -> ExampleResult:
    """In training mode, too, every r and u of each form equals the specification's, and so do the running statistics."""
    exact = example.integer_copy(model).train()
    view = view_of(exact)
    net = tensors_of(view)
    rule = BatchStatistics()
    with exact_or_undecided() as guard:
        right = algorithm_2(net, example.pixels(), rule)
    gap = 0.0
    for name in view.forms:
        view = view_of(example.integer_copy(model).train())  # a new copy, since a run moves the running statistics
        with _rounding(view):
            seen = traced(view, view.forms[name], example.tensor())
        compare_trace(f"{name} form in training: ", seen, right, counted=view.follows_order)
        gap = max(gap, _compare_statistics(name, view, net, rule))
    return ExampleResult(bits_used=guard.bits, largest_gap=gap)


def norms_of(view: NetworkView) -> list[nn.BatchNorm2d]:
    """Every BatchNorm of the view, once, in the order of `NetTensors.sigmas`."""
    grids = (_norms_of_grid(grid) for grid in view.grids)
    found = chain([view.sigma_f], *grids)
    return [norm for norm in unique(list(found)) if isinstance(norm, nn.BatchNorm2d)]


def _norms_of_grid(grid: GridView) -> Iterator[nn.Module]:
    transfer = grid.transfer
    if transfer is not None:
        yield from (transfer.sigma_Pi, transfer.sigma_R)
    for sigma_r, sigma_u in zip(grid.sigma_r, grid.sigma_u):
        yield from (sigma_r, sigma_u)


@contextmanager
def _rounding(view: NetworkView) -> Iterator[None]:
    """Each BatchNorm's output becomes ROUNDING_SCALE times itself, rounded to integers."""

    def to_integers(_: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return torch.round(ROUNDING_SCALE * output)

    handles = [norm.register_forward_hook(to_integers) for norm in norms_of(view)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _compare_statistics(form: str, view: NetworkView, net: NetTensors, rule: BatchStatistics) -> float:
    """Running mean, variance and counter of each BatchNorm after one batch.

    Bounds, with u = 2^-53 and n values a channel: a mean of n numbers below m errs by at most (n + 1) u m in any order
    of summation. Welford's and the two-pass variance err by at most n u sqrt(1 + mean^2/var) var <= n u (var + mean^2)
    to first order (Chan, Golub, LeVeque); twice that, and eight further roundings, cover the higher orders and the
    averaging.
    """
    gap = 0.0
    for norm, (place, stored) in zip(norms_of(view), net.sigmas(), strict=True):
        mean, variance, count = rule.seen[id(stored)]
        running_mean, running_variance = (values.astype(np.float64) for values in rule.running(stored))
        unit = 2 * (count + 8) * 2.0**-53
        of_mean = unit * (rule.largest[id(stored)] + np.abs(stored.mean))
        of_variance = unit * (2 * (variance + mean**2) + stored.variance)
        name = f"{form} form in training: running %s of sigma on {place}"
        after = sigma_of(norm).normalization
        assert after is not None  # norm is a BatchNorm2d
        gap = max(gap, require_within(name % "mean", after.mean, running_mean, of_mean.astype(np.float64)))
        gap = max(gap, require_within(name % "variance", after.variance, running_variance, of_variance.astype(np.float64)))
        if norm.num_batches_tracked is not None and int(norm.num_batches_tracked) != 1:
            raise Violation(f"{name % 'counter'} is {int(norm.num_batches_tracked)} after one batch")
    return gap
