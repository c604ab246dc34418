"""digits: the default for scikit-learn's digits, seconds on one core."""

from __future__ import annotations

from typing import Any

VALUES: dict[str, dict[str, Any]] = {
    "digits": {
        "epochs": 12,
        "milestones": (7, 10),
        "batch_size": 64,
        "lr": 0.1,
        "weight_decay": 5e-4,
        "init": "kaiming",
        "pad": 1,
    }
}

REASONS = {
    "epochs, batch_size": "small enough for seconds on one core",
    "pad, flip": "a digit may move by one pixel but must not be mirrored",
    "init": "the papers', and the networks' own",
    "headline": "the last epoch",
}


def values(dataset: str, model: str) -> dict[str, Any]:
    """The fields of the recipe; the model does not matter."""
    return VALUES[dataset]
