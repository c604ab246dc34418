"""Mixup, keyed by the step: the weight and the partner of each image do not depend on who computes them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from mgnet_train.data.rng import key

_NO_LABELS = torch.empty(0, dtype=torch.int64)


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """Each image counts `weight`, its partner the rest; `labels` (b,) are the partners'."""

    weight: float
    labels: Tensor

    def with_labels(self, labels: Tensor) -> Mixture:
        return replace(self, labels=labels)


def mixture_of_step(alpha: float, seed: int, epoch: int, step: int) -> Mixture:
    """The weight of one step, drawn from Beta(alpha, alpha)."""
    weight = np.random.default_rng(key(seed, "mixup", epoch, step)).beta(alpha, alpha)
    return Mixture(weight=float(weight), labels=_NO_LABELS)
