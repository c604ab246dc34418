"""paper-v1: the training of the paper's first version (arXiv 1911.10428v1)."""

from __future__ import annotations

from typing import Any

_SGD = {"lr": 0.1, "init": "kaiming", "batch_size": 128, "weight_decay": 1e-4}
_CIFAR = {**_SGD, "epochs": 120, "milestones": (30, 60, 90), "pad": 4, "flip": True}

VALUES: dict[str, dict[str, Any]] = {
    "mnist": {**_SGD, "epochs": 60, "milestones": (30,)},
    "cifar10": _CIFAR,
    "cifar100": _CIFAR,
}

REASONS = {
    "milestones": "the text says 'divided by 10 at 30 epochs', which we interpret as every 30 epochs",
    "weight_decay": "1e-4 for 18 layers and 1e-3 for 34 as stated; GDFI schemes name no depth and get the value of 18 layers",
    "pad, flip": "the widely used scheme, cited without details: padding of 4 and flip on CIFAR, neither on MNIST",
    "init": "the citation cannot be resolved from the text; Kaiming normal with fan-out as in the later version",
    "decay_norm_and_bias": "not stated; PyTorch's optimizer decays everything by default",
    "headline": "the end of training, as stated",
}


def values(dataset: str, model: str) -> dict[str, Any]:
    """The fields of the recipe for a data set; networks of 34 layers have their own weight decay."""
    return VALUES[dataset] | ({"weight_decay": 1e-3} if "resnet34" in model else {})
