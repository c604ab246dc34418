"""Batched augmentation on the device: one gather shifts all images of a batch, one select mirrors them.

The shift equals RandomCrop(size, padding=pad) on zero-padded images and the mirror RandomHorizontalFlip, in distribution.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from mgnet_train.data.info import Facts
from mgnet_train.data.rng import generator


@dataclass(frozen=True, kw_only=True)
class Draws:
    """The random numbers of one epoch, one row for each image of the split, found by the image's index."""

    top: Tensor
    left: Tensor
    mirrored: Tensor

    @classmethod
    def of_epoch(cls, seed: int, epoch: int, images: int, *, pad: int, flip: bool, device: torch.device) -> Draws:
        """Shifts (images,) int64 in 0..2*pad and mirrors (images,) bool."""
        source = generator(seed, "augment", epoch)
        offsets = torch.randint(0, 2 * pad + 1, (2, images), generator=source).to(device)
        mirrored = torch.rand(images, generator=source).lt(0.5).logical_and(torch.tensor(flip))
        return cls(top=offsets[0], left=offsets[1], mirrored=mirrored.to(device))


class Shifter:
    """The images of a split, padded once with zeros (before normalising, as the released code does)."""

    def __init__(self, images: Tensor, *, pad: int) -> None:
        height, width = images.shape[2:]
        padded = F.pad(images, (pad, pad, pad, pad))
        self._windows = padded.unfold(2, height, 1).unfold(3, width, 1)

    def __call__(self, index: Tensor, draws: Draws) -> Tensor:
        """The augmented images of `index` (b,), (b, channels, height, width) uint8."""
        shifted = self._windows[index, :, draws.top[index], draws.left[index]]
        return torch.where(draws.mirrored[index][:, None, None, None], shifted.flip(3), shifted)


class Normaliser:
    """8-bit pixels to zero mean and unit deviation per channel, with the data set's own constants."""

    def __init__(self, facts: Facts, device: torch.device) -> None:
        mean, std = facts.model_data.mean, facts.model_data.std
        self._scale = torch.tensor([1 / (facts.white * s) for s in std], device=device)[:, None, None]
        self._shift = torch.tensor([-m / s for m, s in zip(mean, std)], device=device)[:, None, None]

    def __call__(self, images: Tensor) -> Tensor:
        """uint8 (b, c, h, w) to float32 of the same shape."""
        return images.to(torch.float32).mul_(self._scale).add_(self._shift)
