"""modern: a recipe of this project with the usual regularizers; none of it is the paper's."""

from __future__ import annotations

from typing import Any

_COMMON = {
    "schedule": "cosine",
    "lr": 0.1,
    "nesterov": True,
    "decay_norm_and_bias": False,
    "init": "kaiming",
    "label_smoothing": 0.1,
}
_SMALL = {
    **_COMMON,
    "epochs": 200,
    "warmup_epochs": 5,
    "batch_size": 128,
    "weight_decay": 5e-4,
    "ema_decay": 0.999,
    "mixup": 0.2,
}
_CIFAR = {**_SMALL, "pad": 4, "flip": True}

VALUES: dict[str, dict[str, Any]] = {
    "digits": {
        **_COMMON,
        "epochs": 15,
        "warmup_epochs": 1,
        "batch_size": 64,
        "weight_decay": 5e-4,
        "ema_decay": 0.95,
        "pad": 1,
        "mixup": 0.2,
    },
    "mnist": _SMALL,
    "cifar10": _CIFAR,
    "cifar100": _CIFAR,
    "imagenet": {
        **_COMMON,
        "epochs": 100,
        "warmup_epochs": 5,
        "batch_size": 256,
        "weight_decay": 5e-5,
        "ema_decay": 0.9999,
        "crop": "resized",
        "flip": True,
    },
}

REASONS = {
    "schedule": "cosine with a warm-up of 5 epochs (1 on digits) needs no milestones to tune",
    "decay_norm_and_bias": "scale and shift have no reason to be small",
    "mixup, label_smoothing, ema_decay": "usual regularizers, none in the paper; mixup only where images stay on the device",
}


def values(dataset: str, model: str) -> dict[str, Any]:
    """The fields of the recipe for a data set; the model does not matter."""
    return VALUES[dataset]
