"""SVHN's cropped digits: MATLAB files of the fifth version, `X` (32, 32, 3, n) and `y` (n, 1) with 10 for the digit 0."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from scipy.io import loadmat

from mgnet_records.datasets import DATA_SETS
from mgnet_train.data.dataset import ResidentDataset, Split
from mgnet_train.data.reading import is_there, read_data_file
from mgnet_train.errors import DataError

_FILES = {"train": "train_32x32.mat", "test": "test_32x32.mat"}
_PIXELS = 32 * 32 * 3
_REST = 2**24  # of a file: labels and headers
_HEADER, _COMPRESSED = 128, 15  # bytes before the first element, and its type when it is compressed


def find_svhn(folders: Iterable[Path], *, only_test: bool) -> ResidentDataset | None:
    """The two files from the first folder that has one of them, the test images alone with `only_test`; None where none has.

    Raises DataError, with the file's name, for one that is missing or not what it should be.
    """
    info = DATA_SETS["svhn"]
    for folder in folders:
        if any(is_there(folder / file) for file in _FILES.values()):
            test = read_mat(folder / _FILES["test"], most=info.test_images)
            train = test.emptied() if only_test else read_mat(folder / _FILES["train"], most=info.train_images)
            return ResidentDataset(name="svhn", train=train, test=test)
    return None


def read_mat(path: Path, *, most: int) -> Split:
    """The images (n, 3, 32, 32) uint8 and labels (n,) of a file with 1 to `most` of them; no more is unpacked than that.

    Raises DataError, with the file's name, for any other file.
    """
    largest = most * (_PIXELS + 64) + _REST
    content = read_data_file(path, most=largest)
    try:
        _require_unpacked_size(content, largest)
        arrays = loadmat(io.BytesIO(content), variable_names=["X", "y"])
        pixels, labels = arrays["X"], arrays["y"]
    except Exception as error:  # scipy raises whatever a byte makes it raise, from TypeError to MemoryError
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise DataError(f"{path} is no MATLAB file of version 5 with X and y ({reason}): get it again") from None
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[:3] != (32, 32, 3):
        raise DataError(f"{path} has an X of {_described(pixels)}, not uint8 of 32 x 32 x 3 x n: get it again")
    n = pixels.shape[3]
    if not isinstance(labels, np.ndarray) or labels.dtype.kind not in "uif" or labels.shape not in ((n, 1), (1, n)):
        raise DataError(f"{path} has {n:,} images and a y of {_described(labels)}: get it again")
    if not 1 <= n <= most:
        raise DataError(f"{path} has {n:,} images, not 1 to {most:,}: get it again")
    digits = labels.reshape(-1)
    if not np.isin(digits, np.arange(11)).all():
        raise DataError(f"{path} has labels outside of 1..10: get it again")
    return Split(
        images=torch.from_numpy(np.ascontiguousarray(pixels.transpose(3, 2, 0, 1))),
        labels=torch.from_numpy(digits.astype(np.int64) % 10),
    )


def _require_unpacked_size(content: bytes, most: int) -> None:
    """Raises ValueError where the compressed elements are larger than `most` bytes together: zlib packs zeros 1,000 to 1."""
    place, unpacked = _HEADER, 0
    order = "<" if content[126:128] == b"IM" else ">"
    while place + 8 <= len(content):
        kind, length = struct.unpack_from(f"{order}II", content, place)
        place += 8
        if kind == _COMPRESSED:
            stream = zlib.decompressobj()
            rest = content[place : place + length]
            while rest and unpacked <= most:
                unpacked += len(stream.decompress(rest, 2**20))
                rest = stream.unconsumed_tail
        else:
            unpacked += length
        if unpacked > most:
            raise ValueError(f"more than {most:,} bytes when unpacked")
        place += length


def _described(array: object) -> str:
    return f"{array.dtype} of {' x '.join(map(str, array.shape))}" if isinstance(array, np.ndarray) else type(array).__name__
