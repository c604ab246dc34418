"""Augmentation of whole batches on the device: one gather crops all images of a batch, one select flips them.

The crop equals RandomCrop(size, padding=pad) on zero-padded images and the flip RandomHorizontalFlip, in distribution.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from mgnet_records.datasets import DataSetInfo
from mgnet_train.data.rng import generator


@dataclass(frozen=True, kw_only=True)
class AugmentationParameters:
    """The random numbers of one epoch, one for each image of the split, found by the image's index."""

    top: Tensor
    left: Tensor
    flipped: Tensor

    @classmethod
    def of_epoch(cls, seed: int, epoch: int, images: int, *, pad: int, flip: bool, device: torch.device) -> AugmentationParameters:
        """Offsets (images,) int64 in 0..2*pad and flips (images,) bool.

        They are drawn for all images at once, whichever this process sees, so that they depend on seed, epoch and image alone.
        """
        source = generator(seed, "augment", epoch)
        offsets = torch.randint(0, 2 * pad + 1, (2, images), generator=source).to(device)
        flipped = torch.rand(images, generator=source).lt(0.5).logical_and(torch.tensor(flip))
        return cls(top=offsets[0], left=offsets[1], flipped=flipped.to(device))


class RandomCrop:
    """Crops of the images of a split, which are padded once with zeros (before normalization, as the released code does)."""

    def __init__(self, images: Tensor, *, pad: int) -> None:
        height, width = images.shape[2:]
        padded = F.pad(images, (pad, pad, pad, pad))
        # All crops of all images as a view, (n, c, 2*pad + 1, 2*pad + 1, height, width): it takes no memory.
        self._windows = padded.unfold(2, height, 1).unfold(3, width, 1)

    def __call__(self, index: Tensor, parameters: AugmentationParameters) -> Tensor:
        """The crops of the images `index` (b,), as (b, channels, height, width) uint8."""
        return self._windows[index, :, parameters.top[index], parameters.left[index]]


def random_flip(images: Tensor, index: Tensor, parameters: AugmentationParameters) -> Tensor:
    """The images (b, c, h, w), whose numbers are `index` (b,), some of them mirrored left to right."""
    return torch.where(parameters.flipped[index][:, None, None, None], images.flip(3), images)


class Normalize:
    """8-bit pixels to zero mean and unit deviation for each channel, with the data set's own constants."""

    def __init__(self, info: DataSetInfo, device: torch.device) -> None:
        self._scale = torch.tensor([1 / (info.pixel_max * s) for s in info.std], device=device)[:, None, None]
        self._shift = torch.tensor([-m / s for m, s in zip(info.mean, info.std)], device=device)[:, None, None]

    def __call__(self, images: Tensor) -> Tensor:
        """uint8 (b, c, h, w) to float32 of the same shape."""
        return images.to(torch.float32).mul_(self._scale).add_(self._shift)
