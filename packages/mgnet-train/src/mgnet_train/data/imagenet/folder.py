"""Images in one folder for each class: `root/train/<class>/*` and `root/val/<class>/*`."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from mgnet_records.datasets import DATA_SETS
from mgnet_train.data.imagenet.images import IMAGE_SUFFIXES, ImageFiles, StreamedDataset, stem
from mgnet_train.errors import DataError


def open_folder(name: str, root: Path) -> StreamedDataset:
    """The data set in a folder. Raises DataError, when a split is first needed, for one without images."""
    return StreamedDataset(name, lambda split: _find(name, root, split))


def _find(name: str, root: Path, split: str) -> ImageFiles:
    info = DATA_SETS[name]
    classes = _classes(root / "train")
    if not classes:
        raise DataError(f"{root / 'train'} has no class folders: put the images there as {info.files}")
    if len(classes) > info.num_classes:
        raise DataError(f"{root / 'train'} has {len(classes)} class folders, more than {info.num_classes}")
    found = [
        (label, f"{folder}/{file}")
        for label, folder in enumerate(classes)
        for file in sorted(_images(root / split / folder), key=lambda file: (os.path.splitext(file)[0], file))
    ]
    if not found:
        raise DataError(f"{root / split} has no images: put them there as {info.files}")
    return _FolderFiles(root / split, found)


class _FolderFiles(ImageFiles):
    def __init__(self, root: Path, found: list[tuple[int, str]]) -> None:
        self._root = root
        self.labels = np.array([label for label, _ in found], dtype=np.int64)
        self._files = np.array([os.fsencode(file) for _, file in found])

    def encoded(self, index: int) -> bytes:
        return self._path(index).read_bytes()

    def location(self, index: int) -> str:
        return str(self._path(index))

    def names(self) -> Iterable[bytes]:
        return map(stem, self._files)

    def sizes(self) -> Iterable[int]:
        return (self._path(index).stat().st_size for index in range(len(self)))

    def _path(self, index: int) -> Path:
        return self._root / os.fsdecode(self._files[index])


def _classes(train: Path) -> list[str]:
    """The names of the class folders, sorted; its index is the label."""
    return (
        sorted(entry.name for entry in os.scandir(train) if entry.is_dir() and not entry.name.startswith("."))
        if train.is_dir()
        else []
    )


def _images(folder: Path) -> list[str]:
    names = os.listdir(folder) if folder.is_dir() else []
    # A dot begins the names of what is no image: .ipynb_checkpoints, macOS's ._0.JPEG beside 0.JPEG.
    return [
        name
        for name in names
        if not name.startswith(".") and name.lower().endswith(tuple(f".{suffix}" for suffix in IMAGE_SUFFIXES))
    ]
