"""sparse-coding: the training of the paper on convolutional sparse coding (arXiv 1912.02605), as far as its sources say it."""

from __future__ import annotations

from typing import Any

# The lecture's curves of Res-CSC and the plain networks: 200 epochs with visible drops at 100 and 150.
_RESIDUAL = {
    "epochs": 200,
    "milestones": (100, 150),
    "lr": 0.1,
    "batch_size": 128,
    "weight_decay": 1e-4,
    "init": "kaiming",
    "pad": 4,
    "flip": True,
}
# Those of MSD-CSC, ML-CSC and MSDNet: 150 epochs with a drop at 75; the rest is that of the first author's code.
_DENSE = {"epochs": 150, "milestones": (75,), "lr": 0.01, "batch_size": 64, "weight_decay": 0.0, "init": "kaiming"}
_OF_DENSE_NETWORKS = ("msdcsc", "msdnet", "mlcsc")

VALUES: dict[str, dict[str, Any]] = {"cifar10": _RESIDUAL, "cifar100": _RESIDUAL, "svhn": _RESIDUAL | {"flip": False}}

REASONS = {
    "epochs, milestones": "read off the curves of the second author's lecture; no table or text states them",
    "lr, batch_size, weight_decay": "of residual networks not stated: those of the CIFAR ResNets, with which they are compared; "
    "of dense ones 0.01, 64 and none, as the first author's code has them (it trains 300 epochs without a drop)",
    "pad, flip": "of residual networks not stated: a padding of 4 and flips, but no flips of house numbers; the code of the dense "
    "networks has neither",
    "init": "dictionaries start by their own rule, see `mgnet_models`; other convolutions by Kaiming's, which is not stated",
}


def values(dataset: str, model: str) -> dict[str, Any]:
    """The fields of the recipe for a data set; dense networks have one of their own."""
    return _DENSE if model.startswith(_OF_DENSE_NETWORKS) else VALUES[dataset]
