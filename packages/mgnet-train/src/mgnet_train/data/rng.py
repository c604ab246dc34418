"""Randomness as a function of (seed, purpose, epoch): nothing that happened before can change it.

So the order of the images and their augmentation are the same for any number of workers or processes, and after any
number of kills and restarts.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def key(*parts: int | str) -> int:
    """A 63-bit number that depends on every part, the same on every machine and in every process."""
    text = "/".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1


def generator(*parts: int | str) -> torch.Generator:
    """A CPU generator that starts at the key of the parts."""
    return torch.Generator().manual_seed(key(*parts))


def order(seed: int, epoch: int, images: int) -> Tensor:
    """The order of the training images in one epoch, (images,) int64."""
    return torch.randperm(images, generator=generator(seed, "order", epoch))
