"""MNIST's idx files: a big-endian header, then bytes. Plain or compressed with gzip."""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from mgnet_records.datasets import DATA_SETS
from mgnet_train.data.dataset import ResidentDataset, Split
from mgnet_train.data.reading import is_there, open_file, why
from mgnet_train.errors import DataError

_UNSIGNED_BYTES = 0x08
_LARGEST_FILE = 2**28


def find_mnist(folders: Iterable[Path], *, only_test: bool) -> ResidentDataset | None:
    """The four files, or the two of the test images, from the first folder that has one of the four; None where none has.

    Raises DataError, with the file's name, for one that is missing or not what it should be.
    """
    info = DATA_SETS["mnist"]
    for folder in folders:
        if any(_found(folder, f"{prefix}-{what}") for prefix in ("train", "t10k") for what in ("images", "labels")):
            test = _read_split(folder, "t10k", info.test_images)
            train = test.emptied() if only_test else _read_split(folder, "train", info.train_images)
            return ResidentDataset(name="mnist", train=train, test=test)
    return None


def _read_split(folder: Path, prefix: str, most: int) -> Split:
    info = DATA_SETS["mnist"]
    images = read_idx(_find(folder, f"{prefix}-images"), shape=info.input_size[1:], most=most)
    path = _find(folder, f"{prefix}-labels")
    labels = read_idx(path, shape=(), most=most)
    if len(images) != len(labels):
        raise DataError(f"{folder} has {len(images)} images and {len(labels)} labels for {prefix}: get the files again")
    if int(labels.max()) >= info.num_classes:
        raise DataError(f"{path} has label {int(labels.max())}, outside 0..{info.num_classes - 1}: get the file again")
    return Split(images=images[:, None], labels=labels.to(torch.int64))


def read_idx(path: Path, *, shape: tuple[int, ...], most: int) -> Tensor:
    """The array (n, *shape) uint8 of an idx file, n from 1 to `most`; of a .gz file no more is unpacked than that.

    Raises DataError, with the file's name, for any other file.
    """
    try:
        with open_file(path, most=_LARGEST_FILE) as file:
            if path.suffix != ".gz":
                return _parse(path, file, shape, most)
            with gzip.open(file) as unpacked:
                return _parse(path, unpacked, shape, most)
    except (OSError, EOFError, zlib.error) as error:
        reason = why(error) if isinstance(error, OSError) else f"cannot be read ({error})"
        raise DataError(f"{path} {reason}: get the file again") from None


def _parse(path: Path, file: BinaryIO | gzip.GzipFile, shape: tuple[int, ...], most: int) -> Tensor:
    axes = 1 + len(shape)
    header = file.read(4 + 4 * axes)
    if len(header) < 4 + 4 * axes or header[:4] != bytes([0, 0, _UNSIGNED_BYTES, axes]):
        raise DataError(f"{path} is no idx file of bytes with {axes} axes: get the file again")
    n, *told = struct.unpack(f">{axes}I", header[4:])
    if tuple(told) != shape:
        pixels = [" x ".join(map(str, sides)) for sides in (told, shape)]
        raise DataError(f"{path} has images of {pixels[0]} pixels, not {pixels[1]}: get the file again")
    if not 1 <= n <= most:
        raise DataError(f"{path} has {n:,} entries, not 1 to {most:,}: get the file again")
    expected = n * int(np.prod(shape))
    content = file.read(expected + 1)
    if len(content) != expected:
        has = "more" if len(content) > expected else len(content)
        raise DataError(f"{path} promises {expected} bytes and has {has}: get the file again")
    return torch.from_numpy(np.frombuffer(bytearray(content), dtype=np.uint8).reshape(n, *shape))


def _found(folder: Path, name: str) -> Path | None:
    stem = f"{name}-idx3" if name.endswith("images") else f"{name}-idx1"
    spellings = [part.format(base) for base in (stem, stem.replace("-idx", ".idx")) for part in ("{}-ubyte", "{}-ubyte.gz")]
    return next((folder / spelling for spelling in spellings if is_there(folder / spelling)), None)


def _find(folder: Path, name: str) -> Path:
    path = _found(folder, name)
    if path is None:
        number = 3 if name.endswith("images") else 1
        raise DataError(f"{folder / name}-idx{number}-ubyte (or .gz) is missing: put MNIST's four idx files into {folder}")
    return path
