"""The learning rate as a function of the epoch alone, so that a resumed run cannot get it wrong.

timm's multistep schedule drops at milestone - 1 by its own convention; the paper's and PyTorch's drop at the milestone.
"""

from __future__ import annotations

import bisect
import math

from mgnet_train.config.recipe import Recipe


def learning_rate(recipe: Recipe, epoch: int) -> float:
    """The learning rate of a whole epoch, counted from 0."""
    if epoch < recipe.warmup_epochs:
        return recipe.lr * (epoch + 1) / (recipe.warmup_epochs + 1)
    if recipe.schedule == "steps":
        return recipe.lr * recipe.drop ** bisect.bisect_right(recipe.milestones, epoch)
    length = max(1, recipe.epochs - recipe.warmup_epochs)
    return 0.5 * recipe.lr * (1 + math.cos(math.pi * (epoch - recipe.warmup_epochs) / length))
