"""Mixup: each image is blended with a partner, by a weight that is drawn once for each step from Beta(alpha, alpha)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from mgnet_train.data.rng import stream_seed

_NO_LABELS = torch.empty(0, dtype=torch.int64)


@dataclass(frozen=True, kw_only=True)
class Mixup:
    """Each image has `weight`, its partner `1 - weight`; `labels` (b,) int64 are the partners'."""

    weight: float
    labels: Tensor

    def with_labels(self, labels: Tensor) -> Mixup:
        return replace(self, labels=labels)


def mixup_of_step(alpha: float, seed: int, epoch: int, step: int) -> Mixup:
    """The weight of one step, still without labels; stateless, so every process draws the same."""
    weight = np.random.default_rng(stream_seed(seed, "mixup", epoch, step)).beta(alpha, alpha)
    return Mixup(weight=float(weight), labels=_NO_LABELS)
