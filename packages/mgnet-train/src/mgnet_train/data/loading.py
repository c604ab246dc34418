"""A data set by name, read from where its files lie."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mgnet_train.data.cifar import read_cifar10, read_cifar100
from mgnet_train.data.dataset import ResidentDataset
from mgnet_train.data.digits import read_digits
from mgnet_train.data.imagenet.folder import open_folder
from mgnet_train.data.imagenet.images import StreamedDataset
from mgnet_train.data.info import FACTS
from mgnet_train.data.mnist import read_mnist
from mgnet_train.data.source import open_source
from mgnet_train.errors import DataError, UserError, unknown

_RESIDENT = {"mnist": read_mnist, "cifar10": read_cifar10, "cifar100": read_cifar100}


def load_dataset(name: str, data_dir: Path, *, source: str | None = None, workers: int = 1) -> ResidentDataset | StreamedDataset:
    """The named data set; its files lie in `data_dir/<name>`, or where `source` says if it is one of image files.

    Raises UserError for an unknown name or source and DataError for files that are missing (saying where they must lie) or
    damaged.
    """
    if name not in FACTS:
        raise unknown("data set", name, FACTS)
    if name == "digits":
        return read_digits()
    if source is not None and name not in _RESIDENT:
        return open_source(name, source, data_dir, workers=workers)
    folder = data_dir / name
    if not folder.is_dir():
        raise DataError(f"data set {name} is not at {folder}: put there {FACTS[name].files}, or say where with --data-dir")
    return _RESIDENT[name](folder) if name in _RESIDENT else open_folder(name, folder)


def refuse_useless_source(source: str | None, names: Iterable[str]) -> None:
    """Raise UserError for a source when none of the data sets is one of image files."""
    resident = sorted({*names} & {"digits", *_RESIDENT})
    if source is not None and resident and {*names} <= {*resident}:
        raise UserError(f"source {source!r} says nothing about {', '.join(resident)}: leave out --source, it is for imagenet")
