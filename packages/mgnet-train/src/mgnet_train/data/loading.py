"""A data set by name: from the folder that its files are in or, for image files, from a source in timm's words."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path

from mgnet_records.datasets import DATA_SETS
from mgnet_records.errors import InputError, unknown
from mgnet_train.data.cifar import read_cifar10, read_cifar100
from mgnet_train.data.dataset import ResidentDataset
from mgnet_train.data.digits import read_digits
from mgnet_train.data.imagenet.folder import open_folder
from mgnet_train.data.imagenet.hf import find_rows
from mgnet_train.data.imagenet.images import ImageFiles, StreamedDataset
from mgnet_train.data.imagenet.tar import find_shards
from mgnet_train.data.mnist import read_mnist
from mgnet_train.errors import DataError

# Prefix, which is also the name of an extra of ours -> the package that timm needs for it.
PACKAGES = {"wds": "webdataset", "hfds": "datasets"}
_SEQUENTIAL = ("tfds", "hfids")
_RESIDENT = {"mnist": read_mnist, "cifar10": read_cifar10, "cifar100": read_cifar100}


def load_dataset(name: str, data_dir: Path, *, source: str | None = None, workers: int = 1) -> ResidentDataset | StreamedDataset:
    """The named data set; its files are in `data_dir/<name>`, or where `source` says if it is one of image files.

    Raises InputError for an unknown name or source and DataError for files that are missing (saying where they belong) or
    corrupt.
    """
    if name not in DATA_SETS:
        raise unknown("data set", name, DATA_SETS)
    if name == "digits":
        return read_digits()
    if source is not None and name not in _RESIDENT:
        return _open_source(name, source, data_dir, workers=workers)
    folder = data_dir / name
    if not folder.is_dir():
        raise DataError(
            f"data set {name} is not at {folder}: put {DATA_SETS[name].files} there, or name another folder with --data-dir"
        )
    return _RESIDENT[name](folder) if name in _RESIDENT else open_folder(name, folder)


def reject_useless_source(source: str | None, names: Iterable[str]) -> None:
    """Raise InputError for a source when none of the data sets is one of image files."""
    resident = sorted({*names} & {"digits", *_RESIDENT})
    if source is not None and resident and {*names} <= {*resident}:
        raise InputError(f"source {source!r} says nothing about {', '.join(resident)}: leave out --source, it is for imagenet")


def _open_source(name: str, source: str, data_dir: Path, *, workers: int) -> StreamedDataset:
    """The data set from `data_dir/NAME`, for a source `wds/NAME` or `hfds/NAME`; `workers` processes scan shards.

    Raises InputError for a source that is not supported or whose package is missing, DataError when nothing is there.
    """
    prefix, folder = _parsed(source, data_dir)
    if find_spec(PACKAGES[prefix]) is None:
        raise InputError(f"source {source!r} needs the package {PACKAGES[prefix]}: install mgnet-train[{prefix}]")
    if not folder.is_dir():
        raise DataError(f"source {source!r} is not at {folder}: put the data set there, or say where with --data-dir")
    finders: dict[str, Callable[[str], ImageFiles]] = {
        "wds": lambda split: find_shards(folder, split, workers=workers),
        "hfds": lambda split: find_rows(folder, split, cache=data_dir / "hfds_cache"),
    }
    return StreamedDataset(name, finders[prefix])


def _parsed(source: str, data_dir: Path) -> tuple[str, Path]:
    prefix, _, path = source.partition("/")
    prefix = prefix.lower()
    if prefix in _SEQUENTIAL:
        raise InputError(f"source {source!r} is read in sequence only, so runs could not be resumed: use wds/NAME or hfds/NAME")
    if prefix not in PACKAGES or not path:
        raise InputError(f"unknown source {source!r}: use wds/NAME or hfds/NAME, with NAME a folder below --data-dir")
    return prefix, data_dir / path
