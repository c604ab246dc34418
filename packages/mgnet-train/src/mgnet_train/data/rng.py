"""Stateless randomness: every random number is a function of (seed, purpose, epoch, ...), so no generator state is saved.

The order of the images and their augmentation are therefore the same for any number of workers or processes, and after
any number of kills and restarts.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def stream_seed(*parts: int | str) -> int:
    """The 63-bit seed of the stream of random numbers that the parts name; the same on every machine and in every process.

    A hash, so that streams with neighboring parts (epoch 1, epoch 2) have nothing in common.
    """
    text = "/".join(map(str, parts)).encode()
    # The lowest bit goes: torch and numpy both take seeds of 63 bits.
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1


def generator(*parts: int | str) -> torch.Generator:
    """A CPU generator at the start of the stream that the parts name."""
    return torch.Generator().manual_seed(stream_seed(*parts))


def epoch_order(seed: int, epoch: int, images: int) -> Tensor:
    """The order of the training images in one epoch, a permutation (images,) int64."""
    return torch.randperm(images, generator=generator(seed, "order", epoch))
