"""sigma = ReLU after BatchNorm, in the three pieces of a backward pass that keeps no activation behind it.

The first pass normalises and returns the statistics that it used; a later one repeats it from them to the same bits, so
no reduction is redone and the running statistics move once; the last differentiates. Shapes: x (b, c, h, w), the rest (c,).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from timm.layers import BatchNormAct2d
from torch import Tensor


class Statistics(NamedTuple):
    """What a normalisation used: the mean, and one over the standard deviation with eps in it, both (c,)."""

    mean: Tensor
    inverse_deviation: Tensor


@dataclass(frozen=True, kw_only=True)
class NormSettings:
    """How one call of a BatchNorm normalises: by the batch or by the running statistics, and what it moves."""

    by_batch: bool
    momentum: float
    eps: float
    running_mean: Tensor | None
    running_var: Tensor | None

    @classmethod
    def of_call(cls, norm: BatchNormAct2d) -> NormSettings:
        """The settings of the call that begins now; counts the batch as a call of the module would."""
        momentum = 0.0 if norm.momentum is None else norm.momentum
        if norm.training and norm.track_running_stats and norm.num_batches_tracked is not None:
            norm.num_batches_tracked.add_(1)
            if norm.momentum is None:  # the cumulative average
                momentum = 1.0 / float(norm.num_batches_tracked)
        moves = not norm.training or norm.track_running_stats
        return cls(
            by_batch=norm.training or norm.running_mean is None,
            momentum=momentum,
            eps=norm.eps,
            running_mean=norm.running_mean if moves else None,
            running_var=norm.running_var if moves else None,
        )


def sigma(x: Tensor, weight: Tensor, bias: Tensor, settings: NormSettings) -> tuple[Tensor, Statistics]:
    """sigma(x) and the statistics that repeat it; moves the running statistics where the settings say so.

    Raises ValueError for a single value in a channel, of which there are no batch statistics.
    """
    if settings.by_batch and x.numel() == x.shape[1]:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {tuple(x.shape)}")
    y, mean, inverse_deviation = torch.native_batch_norm(
        x, weight, bias, settings.running_mean, settings.running_var, settings.by_batch, settings.momentum, settings.eps
    )
    if not settings.by_batch:
        assert settings.running_mean is not None
        assert settings.running_var is not None
        mean, inverse_deviation = settings.running_mean.clone(), torch.rsqrt(settings.running_var + settings.eps)
    return y.relu_(), Statistics(mean, inverse_deviation)


def sigma_again(x: Tensor, weight: Tensor, bias: Tensor, statistics: Statistics) -> Tensor:
    """sigma(x) from known statistics, with the rounding of the first pass.

    A variance of 1 leaves torch's kernel nothing to invert: the deviation comes with the weight, as in its own training.
    """
    mean, inverse_deviation = statistics
    one = torch.ones_like(inverse_deviation)
    return torch.batch_norm(x, weight * inverse_deviation, bias, mean, one, False, 0.0, 0.0, False).relu_()


def sigma_backward(
    gradient: Tensor, x: Tensor, y: Tensor, weight: Tensor, statistics: Statistics, *, by_batch: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, weight and bias, given that of y = sigma(x). Overwrites y, a scratch tensor of the caller."""
    torch.ops.aten.threshold_backward.grad_input(gradient.to(y.dtype), y, 0, grad_input=y)
    mean, inverse_deviation = statistics
    wanted = [True, True, True]
    if by_batch:
        return torch.ops.aten.native_batch_norm_backward(y, x, weight, None, None, mean, inverse_deviation, True, 0.0, wanted)
    one = torch.ones_like(inverse_deviation)
    g_x, g_weight, g_bias = torch.ops.aten.native_batch_norm_backward(
        y, x, weight * inverse_deviation, mean, one, None, None, False, 0.0, wanted
    )
    return g_x, g_weight * inverse_deviation, g_bias
