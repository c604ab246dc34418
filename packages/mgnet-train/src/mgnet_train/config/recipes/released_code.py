"""released-code: what the authors' released train_mgnet.py does."""

from __future__ import annotations

from typing import Any

_COMMON = {
    "lr": 0.1,
    "init": "torch",
    "batch_size": 128,
    "weight_decay": 5e-4,
    "epochs": 300,
    "milestones": (49, 99, 149, 199, 249, 299),
}
_CIFAR = {**_COMMON, "pad": 4, "flip": True}

VALUES: dict[str, dict[str, Any]] = {"mnist": _COMMON, "cifar10": _CIFAR, "cifar100": _CIFAR}

REASONS = {
    "milestones": "0.1 ** (epoch // 50) with epochs counted from 1: the first drop comes after 49 epochs",
    "init": "the code initializes nothing explicitly: PyTorch's defaults",
    "pad, flip": "as in the code: padding of 4 and flip on CIFAR, neither on MNIST",
    "headline": "the code reports the best on the test images over all epochs; ours is the last, the best is kept beside it",
}


def values(dataset: str, model: str) -> dict[str, Any]:
    """The fields of the recipe for a data set; the model does not matter."""
    return VALUES[dataset]
