"""Data sets of encoded images, too many for memory: what every kind of storage must offer.

Images are sorted by class and then by name, wherever they are stored. So their indices, and with them the order of an epoch
and the digest, belong to the data set: the same files train to the same bits from a folder, from shards and from rows.
"""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mgnet_records.datasets import DATA_SETS, DataSetInfo
from mgnet_train.errors import DataError


class ImageFiles(ABC):
    """The images of one split: `labels` (n,) int64, ascending. Names and locations are in arrays, which worker processes share."""

    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    @abstractmethod
    def encoded(self, index: int) -> bytes:
        """The file of one image. Raises OSError when it cannot be read."""

    @abstractmethod
    def location(self, index: int) -> str:
        """Where one image is stored, for messages; printable."""

    @abstractmethod
    def names(self) -> Iterable[bytes]:
        """The name of each image, as `stem` makes it."""

    @abstractmethod
    def sizes(self) -> Iterable[int]:
        """The size of each image's file in bytes; -1 for one that is there by name only."""


class StreamedDataset:
    """A named data set of encoded images; `find` looks up a split, `train` or `val`, when it is first needed."""

    def __init__(self, name: str, find: Callable[[str], ImageFiles]) -> None:
        self.name = name
        self._find = find

    @property
    def info(self) -> DataSetInfo:
        return DATA_SETS[self.name]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of what the network sees, in pixels."""
        return self.info.input_size[1:]

    @cached_property
    def train(self) -> ImageFiles:
        return self._checked("train")

    @cached_property
    def test(self) -> ImageFiles:
        return self._checked("val")

    @cached_property
    def sha256(self) -> str:
        """Digest of split, label, name without suffix, and size in bytes of every image; not of their content.

        It changes with images that are missing, new, truncated, encoded again or labeled differently. It does not change with
        bytes inside a file that keeps its size: to notice those, everything must be read (mgnet_train.data.digest).
        """
        digest = hashlib.sha256()
        for split, files in (("train", self.train), ("val", self.test)):
            for label, name, size in zip(files.labels, files.names(), files.sizes()):
                digest.update(b"%s %d %s %d\n" % (split.encode(), label, name, size))
        return digest.hexdigest()

    def _checked(self, split: str) -> ImageFiles:
        files, classes = self._find(split), self.info.num_classes
        if not len(files):
            raise DataError(f"{self.name} has no images in its split {split}: get its files again")
        wrong = np.flatnonzero((files.labels < 0) | (files.labels >= classes))
        if len(wrong):
            location, label = files.location(int(wrong[0])), files.labels[wrong[0]]
            raise DataError(f"{location} has label {label}, outside 0..{classes - 1} of {self.name}: get its files again")
        return files


def stem(file: bytes) -> bytes:
    """A file's name without folder and suffix."""
    return os.path.splitext(os.path.basename(file))[0]
