"""The recipe's optimizer (plain SGD), learning rate schedule and, where it has one, moving average of the weights.

timm's are not used: its "sgd" is Nesterov's and exempts BatchNorm and biases from decay, and its multistep schedule drops at
milestone - 1. The paper and its code do neither.
"""

from __future__ import annotations

import bisect
import math
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

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
    """The exponential moving average of the weights, each tensor once, buffers copied; None when the recipe has none."""
    if recipe.ema_decay == 0:
        return None
    return AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema_decay), use_buffers=False)


def learning_rate(recipe: Recipe, epoch: int) -> float:
    """The learning rate of an epoch, counted from 0: a function of the epoch alone, so there is no state to save."""
    if epoch < recipe.warmup_epochs:
        return recipe.lr * (epoch + 1) / (recipe.warmup_epochs + 1)
    if recipe.schedule == "steps":
        return recipe.lr * recipe.drop ** bisect.bisect_right(recipe.milestones, epoch)
    length = max(1, recipe.epochs - recipe.warmup_epochs)
    return 0.5 * recipe.lr * (1 + math.cos(math.pi * (epoch - recipe.warmup_epochs) / length))
