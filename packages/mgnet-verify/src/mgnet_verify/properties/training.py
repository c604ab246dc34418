"""Training mode: forward passes with the statistics of the batch, exactly, and the running statistics they leave behind.

BatchNorm on batch statistics is not exact in floating point. A hook scales its output and rounds it to
integers; the correction stays a function of r alone, so the theorem is untouched and `==` decides. The specification
computes in long double and rounds too; `BatchStatistics` bounds the errors and discards examples with a value too near a
tie. The derivatives of training are in `gradients.py`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from mgnet_verify.check.assertions import require_within
from mgnet_verify.check.example import Example, ExampleResult
from mgnet_verify.check.executions import Running
from mgnet_verify.check.oracle import compare, exact_or_undecided, observed
from mgnet_verify.errors import NotDecided, Violation
from mgnet_verify.network.protocol import sigma_of
from mgnet_verify.network.subject import Norm, subject_of
from mgnet_verify.specification import BatchStatistics
from mgnet_verify.specification.sigma import ROUNDING_SCALE

_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)


def trains_as_specified(model: nn.Module, example: Example) -> ExampleResult:
    """In training mode, too, every execution gives the specification's features, and leaves its running statistics."""
    require_no_chance(model)
    exact = example.integer_copy(model)
    subject = subject_of(exact)
    rule = BatchStatistics()
    with exact_or_undecided() as guard:
        right = subject.specify(example.pixels(), rule)
    gap = 0.0
    for execution in example.of(model):
        if not execution.trains:
            continue
        with execution.named():
            copied = copy.deepcopy(exact).train()  # a new one, since a run moves the running statistics
            running = recording(execution.start(copied))
            norms = subject_of(copied).norms
            with _rounding(norm for _, norm, _ in norms):
                seen = observed(running, example.tensor())
            gap = max(gap, compare(f"{execution} in training: ", seen, right, subject))
            gap = max(gap, compare_statistics(f"{execution} in training: ", norms, subject.norms, rule))
            require_training(copied)
    return ExampleResult(bits_used=guard.bits, largest_gap=gap)


def require_no_chance(model: nn.Module) -> None:
    """NotDecided for a network that drops values or paths at random in training: what it computes then is no function."""
    for name, module in model.named_modules():
        rate = module.p if isinstance(module, _DROPOUTS) else getattr(module, "drop_prob", None)
        if rate:
            raise NotDecided(
                f"{name} drops values with probability {rate} in training: certify the network with rates of 0", retry=False
            )


def recording(running: Running) -> Running:
    """The same with gradients recorded, as in training."""
    if running.model is not None:
        running.model.requires_grad_(True)
    return replace(running, graph=True)


def require_training(model: nn.Module) -> None:
    """Violation where a run leaves a module in evaluation mode."""
    for name, module in model.named_modules():
        if not module.training:
            raise Violation(f"a training step leaves {name or 'the network'} in evaluation mode")


@contextmanager
def _rounding(norms: Iterable[nn.Module]) -> Iterator[None]:
    """Each BatchNorm's output becomes ROUNDING_SCALE times itself, rounded to integers."""

    def to_integers(_: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return torch.round(ROUNDING_SCALE * output)

    handles = [norm.register_forward_hook(to_integers) for norm in norms]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def compare_statistics(name: str, norms: list[Norm], stored: list[Norm], rule: BatchStatistics, *, unit: float = 2.0**-53) -> float:
    """Running mean, variance and counter of each BatchNorm after one batch.

    Bounds, with unit roundoff u and n values a channel: a mean of n numbers below m errs by at most (n + 1) u m in any order
    of summation. Welford's and the two-pass variance err by at most n u sqrt(1 + mean^2/var) var <= n u (var + mean^2)
    to first order (Chan, Golub, LeVeque); twice that, and eight further roundings, cover the higher orders and the
    averaging.
    """
    gap = 0.0
    for (place, norm, _), (_, _, before) in zip(norms, stored, strict=True):
        mean, variance, count = rule.seen[id(before.mean)]
        running_mean, running_variance = (values.astype(np.float64) for values in rule.running(before))
        rounding = 2 * (count + 8) * unit
        of_mean = rounding * (rule.largest[id(before.mean)] + np.abs(before.mean))
        of_variance = rounding * (2 * (variance + mean**2) + before.variance)
        what = f"{name}running %s of sigma on {place}"
        after = sigma_of(norm).normalization
        assert after is not None  # norm is a BatchNorm2d
        gap = max(gap, require_within(what % "mean", after.mean, running_mean, of_mean.astype(np.float64)))
        gap = max(gap, require_within(what % "variance", after.variance, running_variance, of_variance.astype(np.float64)))
        if norm.num_batches_tracked is not None and int(norm.num_batches_tracked) != 1:
            raise Violation(f"{what % 'counter'} is {int(norm.num_batches_tracked)} after one batch")
    return gap
