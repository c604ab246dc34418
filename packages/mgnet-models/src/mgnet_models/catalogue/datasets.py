"""What a model must know of a data set: classes, image size, normalisation. Each becomes a tag of timm's `model.tag`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """Classes, image shape (channels, height, width) and normalisation of one data set."""

    name: str
    num_classes: int
    input_size: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_pct: float = 1.0


DATA_SETS = {
    "digits": DataSet(name="digits", num_classes=10, input_size=(1, 8, 8), mean=(0.3057,), std=(0.3762,)),
    "mnist": DataSet(name="MNIST", num_classes=10, input_size=(1, 28, 28), mean=(0.1307,), std=(0.3081,)),
    "cifar10": DataSet(
        name="CIFAR10",
        num_classes=10,
        input_size=(3, 32, 32),
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2023, 0.1994, 0.2010),
    ),
    "cifar100": DataSet(
        name="CIFAR100",
        num_classes=100,
        input_size=(3, 32, 32),
        mean=(0.5071, 0.4865, 0.4409),
        std=(0.2673, 0.2564, 0.2762),
    ),
    "in1k": DataSet(
        name="ImageNet",
        num_classes=1000,
        input_size=(3, 224, 224),
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        crop_pct=0.875,
    ),
}


# Tags of a name without stem suffix; the first is the default.
SMALL_IMAGES = ("cifar100", "cifar10", "mnist")

MGNET_PAPER = ("arXiv:1911.10428", "An Interpretive Constrained Linear Model for ResNet and MgNet")
CSC_PAPER = (
    "arXiv:1912.02605",
    "Towards Understanding Residual and Dilated Dense Neural Networks via Convolutional Sparse Coding",
)
ML_CSC_PAPER = ("arXiv:1806.00701", "On Multi-Layer Basis Pursuit, Efficient Algorithms and Convolutional Neural Networks")
ALEXNET_PAPER = ("", "ImageNet Classification with Deep Convolutional Neural Networks")


def final_size(tag: str, reduction: int) -> tuple[int, int]:
    """Height and width of a feature that is smaller than this data set's images by `reduction`, rounding up."""
    _, height, width = DATA_SETS[tag].input_size
    return -(-height // reduction), -(-width // reduction)


def model_cfg(
    tag: str, *, first_conv: str, pool_size: tuple[int, int] | None = None, paper: tuple[str, str] = MGNET_PAPER
) -> dict[str, Any]:
    """The timm configuration of a model without weights for the data set of this tag; `paper` is its id and name."""
    data = DATA_SETS[tag]
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
