"""MNIST's idx files: a big-endian header, then bytes. Plain or compressed with gzip."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mgnet_train.data.dataset import ResidentDataset, Split
from mgnet_train.errors import DataError

_UNSIGNED_BYTES = 0x08


def read_mnist(folder: Path) -> ResidentDataset:
    """The four files of MNIST. Raises DataError, with the file's name, for one that is missing or corrupt."""
    splits = []
    for prefix in ("train", "t10k"):
        images = read_idx(_find(folder, f"{prefix}-images-idx3-ubyte"), axes=3)[:, None]
        labels = read_idx(_find(folder, f"{prefix}-labels-idx1-ubyte"), axes=1).to(torch.int64)
        if len(images) != len(labels):
            raise DataError(f"{folder} has {len(images)} images and {len(labels)} labels for {prefix}: get the files again")
        splits.append(Split(images=images, labels=labels))
    return ResidentDataset(name="mnist", train=splits[0], test=splits[1])


def read_idx(path: Path, *, axes: int) -> Tensor:
    """The array of an idx file with so many axes, uint8."""
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read ({error}): get the file again") from None
    if len(content) < 4 + 4 * axes or content[:4] != bytes([0, 0, _UNSIGNED_BYTES, axes]):
        raise DataError(f"{path} is no idx file of bytes with {axes} axes: get the file again")
    shape = struct.unpack(f">{axes}I", content[4 : 4 + 4 * axes])
    pixels = np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * axes)
    if len(pixels) != np.prod(shape):
        raise DataError(f"{path} promises {int(np.prod(shape))} bytes and has {len(pixels)}: get the file again")
    return torch.from_numpy(pixels.reshape(shape).copy())


def _find(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.exists():
            return path
    raise DataError(f"{folder / name} (or .gz) is missing: put MNIST's four idx files into {folder}")
