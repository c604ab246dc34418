"""Plain SGD as the recipe says it, and the averaged weights where it asks for them.

timm's "sgd" is Nesterov's and spares BatchNorm and biases from decay: neither is what the paper or its code does.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from mgnet_train.config.recipe import Recipe


def make_optimiser(network: nn.Module, recipe: Recipe) -> torch.optim.SGD:
    """SGD over all parameters; one group, or two when scales, shifts and biases are spared from decay."""
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
    """The exponentially averaged weights, each tensor once, buffers taken over as they are; None when the recipe has none."""
    if recipe.ema_decay == 0:
        return None
    return AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema_decay), use_buffers=False)
