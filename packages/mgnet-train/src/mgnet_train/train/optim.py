"""The recipe's optimizer (plain SGD), learning rate schedule and, where it has one, moving average of the weights.

timm's are not used: its "sgd" is Nesterov's and exempts BatchNorm and biases from decay, and its multistep schedule drops at
milestone - 1. The paper and its code do neither.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from mgnet_train.config.recipe import Recipe


def make_optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.SGD:
    """SGD over all parameters; one group, or two when scales, shifts and biases are exempt from weight decay."""
    parameters = [p for p in network.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [{"params": parameters}]
    if not recipe.decay_norm_and_bias:
        groups = [
            {"params": [p for p in parameters if p.ndim > 1]},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
    return torch.optim.SGD(
        groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=recipe.nesterov, weight_decay=recipe.weight_decay
    )


def make_average(network: nn.Module, recipe: Recipe) -> AveragedModel | None:
    """The exponential moving average of weights and running statistics, each tensor once; None when the recipe has none.

    The running statistics are averaged like the weights, by the same factors: those of the raw network belong to other weights.
    """
    if recipe.ema_decay == 0:
        return None
    return AveragedModel(network, multi_avg_fn=_averaging(recipe.ema_decay), use_buffers=True)


def average_decay(decay: float, updates: int) -> float:
    """What the moving average keeps of itself after so many updates: 0 at first, then up to `decay`, as timm's warm-up has it.

    A constant decay would keep the first weights, which are random, for 1 / (1 - decay) steps.
    """
    return min(decay, 1 - (1 + updates) ** (-2 / 3))


def _averaging(decay: float) -> Callable[[Any, Any, Any], None]:
    @torch.no_grad()
    def update(averaged: list[Tensor], current: list[Tensor], updates: Tensor) -> None:
        if averaged[0].is_floating_point():
            torch._foreach_lerp_(averaged, current, 1 - average_decay(decay, int(updates)))
        else:  # counts of batches
            for mine, theirs in zip(averaged, current):
                mine.copy_(theirs)

    return update


def learning_rate(recipe: Recipe, epoch: int) -> float:
    """The learning rate of an epoch, counted from 0: a function of the epoch alone, so there is no state to save."""
    if epoch < recipe.warmup_epochs:
        return recipe.lr * (epoch + 1) / (recipe.warmup_epochs + 1)
    if recipe.schedule == "steps":
        return recipe.lr * recipe.drop ** bisect.bisect_right(recipe.milestones, epoch)
    length = max(1, recipe.epochs - recipe.warmup_epochs)
    return 0.5 * recipe.lr * (1 + math.cos(math.pi * (epoch - recipe.warmup_epochs) / length))
