"""paper-v2: the training of the paper's second version (Neural Networks 2023), section 5."""

from __future__ import annotations

from typing import Any

_SGD = {"lr": 0.1, "init": "kaiming"}
_EVERY_30 = {"epochs": 150, "milestones": (30, 60, 90, 120)}
_CIFAR = {**_SGD, **_EVERY_30, "batch_size": 128, "weight_decay": 5e-4, "pad": 4, "flip": True}

VALUES: dict[str, dict[str, Any]] = {
    "mnist": {**_SGD, "epochs": 60, "milestones": (50,), "batch_size": 128, "weight_decay": 5e-4},
    "cifar10": _CIFAR,
    "cifar100": _CIFAR,
    "imagenet": {**_SGD, **_EVERY_30, "batch_size": 256, "weight_decay": 1e-4, "crop": "resized", "flip": True},
}

REASONS = {
    "pad, flip": "not stated; the released code crops with a padding of 4 and flips on CIFAR, and does neither on MNIST",
    "crop": "no ImageNet protocol is stated; random resized crop to 224, tested on the center 224 of 256, is the common one",
    "init": "the text cites Kaiming without the variant; normal with fan-out is the usual choice for convolutions before ReLU",
    "decay_norm_and_bias": "not stated; the released code decays every parameter",
    "nesterov": "not stated; plain momentum is what the text says, and the released code's",
    "headline": "the text does not say which epoch it reports; ours is the last, and the best on the test images is kept beside it",
}


def values(dataset: str, model: str) -> dict[str, Any]:
    """The fields of the recipe for a data set; the model does not matter."""
    return VALUES[dataset]
