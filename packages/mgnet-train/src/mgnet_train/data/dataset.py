"""A data set that fits in memory: 8-bit images and labels of both splits, and the digest of what was read."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from mgnet_train.data.info import FACTS, Facts


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


@dataclass(frozen=True, kw_only=True)
class ResidentDataset:
    """A named data set whose images are all in memory."""

    name: str
    train: Split
    test: Split

    @property
    def facts(self) -> Facts:
        return FACTS[self.name]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return (self.train.images.shape[2], self.train.images.shape[3])

    @cached_property
    def sha256(self) -> str:
        """Digest of the decoded pixels and labels of both splits, in order."""
        digest = hashlib.sha256()
        for split in (self.train, self.test):
            digest.update(repr(tuple(split.images.shape)).encode())
            digest.update(split.images.numpy().tobytes())
            digest.update(split.labels.numpy().tobytes())
        return digest.hexdigest()
