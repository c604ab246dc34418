"""The shapes that data take: a split and a data set in memory, a batch, and what every loader offers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from mgnet_records.datasets import DATA_SETS, DataSetInfo
from mgnet_train.data.mixup import Mixup


@dataclass(frozen=True, kw_only=True)
class Split:
    """Images (n, channels, height, width) uint8 and labels (n,) int64."""

    images: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim != 4:
            raise ValueError(f"images must be uint8 (n, c, h, w), not {self.images.dtype} {tuple(self.images.shape)}")
        if self.labels.shape != self.images.shape[:1]:
            raise ValueError(f"{len(self.labels)} labels for {len(self.images)} images")

    def __len__(self) -> int:
        return len(self.labels)

    def emptied(self) -> Split:
        """No images of the same size."""
        return Split(images=self.images[:0], labels=self.labels[:0])


@dataclass(frozen=True, kw_only=True)
class ResidentDataset:
    """A named data set whose images are all in memory; `train` is empty where the test images alone were asked for."""

    name: str
    train: Split
    test: Split

    @property
    def info(self) -> DataSetInfo:
        return DATA_SETS[self.name]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return (self.test.images.shape[2], self.test.images.shape[3])

    @cached_property
    def sha256(self) -> str:
        """Digest of the decoded pixels and labels of both splits, in order."""
        digest = hashlib.sha256()
        for split in (self.train, self.test):
            digest.update(repr(tuple(split.images.shape)).encode())
            digest.update(split.images.numpy().tobytes())
            digest.update(split.labels.numpy().tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One process's part of a training step: images (b, c, h, w) float32, normalized, and labels (b,) int64.

    `step_images` counts the images of the step over all processes. With mixup, `images` are mixed already.
    """

    images: Tensor
    labels: Tensor
    step_images: int
    mixup: Mixup | None = None


class TrainLoader(Protocol):
    """The training images in batches; `images` in all, `steps` in an epoch."""

    images: int
    steps: int
    corrupt_files: set[str]
    """The image files that this process could not decode so far, with the reason of each; printable."""

    def epoch(self, epoch: int, *, first_step: int) -> Iterator[Batch]:
        """The batches of one epoch from `first_step` on; a step's images do not depend on where one starts."""
        ...


class EvalLoader(Protocol):
    """This process's part of the test images, each image once over all processes; iterating gives (images, labels)."""

    corrupt: int
    """Images of the last pass that could not be decoded; they are in no batch."""
    corrupt_files: set[str]

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]: ...
