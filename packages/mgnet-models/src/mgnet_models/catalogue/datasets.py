"""The timm configuration of a model for a data set: each data set becomes a tag of timm's `model.tag`."""

from __future__ import annotations

from typing import Any

from mgnet_records.datasets import BY_TIMM_TAG

# Tags of a name without stem suffix; the first is the default.
SMALL_IMAGES = ("cifar100", "cifar10", "mnist")
OF_THE_CSC_PAPER = (*SMALL_IMAGES, "svhn")

MGNET_PAPER = ("arXiv:1911.10428", "An Interpretive Constrained Linear Model for ResNet and MgNet")
CSC_PAPER = (
    "arXiv:1912.02605",
    "Towards Understanding Residual and Dilated Dense Neural Networks via Convolutional Sparse Coding",
)
ML_CSC_PAPER = ("arXiv:1806.00701", "On Multi-Layer Basis Pursuit, Efficient Algorithms and Convolutional Neural Networks")
ALEXNET_PAPER = ("", "ImageNet Classification with Deep Convolutional Neural Networks")


def final_size(tag: str, reduction: int, *, rounds_up: bool = True) -> tuple[int, int]:
    """Height and width of a feature that is smaller than this data set's images by `reduction`.

    Padded convolutions of stride 2 round up, 2x2 max-pools round down.
    """
    _, height, width = BY_TIMM_TAG[tag].input_size
    return (-(-height // reduction), -(-width // reduction)) if rounds_up else (height // reduction, width // reduction)


def model_cfg(
    tag: str, *, first_conv: str, pool_size: tuple[int, int] | None = None, paper: tuple[str, str] = MGNET_PAPER
) -> dict[str, Any]:
    """The timm configuration of a model without weights for the data set of this tag; `paper` is its id and name."""
    data = BY_TIMM_TAG[tag]
    return {
        "url": "",
        "num_classes": data.num_classes,
        "input_size": data.input_size,
        "pool_size": pool_size,
        "mean": data.mean,
        "std": data.std,
        "crop_pct": data.crop_pct,
        "interpolation": "bilinear",
        "first_conv": first_conv,
        "classifier": "head.fc",
        "license": "mit",
        "paper_ids": paper[0],
        "paper_name": paper[1],
    }
