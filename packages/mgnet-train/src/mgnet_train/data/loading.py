"""A data set by name, read from where its files lie."""

from __future__ import annotations

from pathlib import Path

from mgnet_train.data.cifar import read_cifar10, read_cifar100
from mgnet_train.data.dataset import ResidentDataset
from mgnet_train.data.digits import read_digits
from mgnet_train.data.facts import FACTS
from mgnet_train.data.idx import read_mnist
from mgnet_train.data.image_folder import FolderDataset
from mgnet_train.errors import DataError, unknown

_RESIDENT = {"mnist": read_mnist, "cifar10": read_cifar10, "cifar100": read_cifar100}


def load_dataset(name: str, data_dir: Path) -> ResidentDataset | FolderDataset:
    """The named data set; its files lie in `data_dir/<name>`.

    Raises UserError for an unknown name and DataError for files that are missing (saying where they must lie) or damaged.
    """
    if name not in FACTS:
        raise unknown("data set", name, FACTS)
    if name == "digits":
        return read_digits()
    folder = data_dir / name
    if not folder.is_dir():
        raise DataError(f"data set {name} is not at {folder}: put there {FACTS[name].files}, or say where with --data-dir")
    return _RESIDENT[name](folder) if name in _RESIDENT else FolderDataset(name, folder)
