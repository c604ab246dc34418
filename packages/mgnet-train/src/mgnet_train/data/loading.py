"""A data set by name: from the folder that its files are in or, for image files, from a source in timm's words."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from mgnet_records.datasets import DATA_SETS, normalized_key
from mgnet_records.errors import InputError, unknown
from mgnet_train.data.cifar import find_cifar
from mgnet_train.data.dataset import ResidentDataset
from mgnet_train.data.digits import read_digits
from mgnet_train.data.imagenet.folder import has_splits, open_folder
from mgnet_train.data.imagenet.hf import find_rows
from mgnet_train.data.imagenet.images import ImageFiles, StreamedDataset
from mgnet_train.data.imagenet.names import is_hidden
from mgnet_train.data.imagenet.tar import find_shards
from mgnet_train.data.mnist import find_mnist
from mgnet_train.data.svhn import find_svhn
from mgnet_train.errors import DataError, note

# Prefix, which is also the name of an extra of ours -> the package that timm needs for it.
PACKAGES = {"wds": "webdataset", "hfds": "datasets"}
_SEQUENTIAL = ("tfds", "hfids")
_RESIDENT: dict[str, Callable[..., ResidentDataset | None]] = {
    "mnist": find_mnist,
    "cifar10": partial(find_cifar, "cifar10"),
    "cifar100": partial(find_cifar, "cifar100"),
    "svhn": find_svhn,
}
# Where the published archives, torchvision and Kaggle put the files, below the folder of the data set or of all data sets.
_BELOW = {
    "mnist": ("MNIST/raw", "raw"),
    "cifar10": ("cifar-10-batches-py", "cifar-10-batches-bin"),
    "cifar100": ("cifar-100-python", "cifar-100-binary"),
    "svhn": (),
    "imagenet": ("ILSVRC/Data/CLS-LOC", "Data/CLS-LOC"),
}


def load_dataset(
    name: str, data_dir: Path, *, source: str | None = None, workers: int = 1, only_test: bool = False
) -> ResidentDataset | StreamedDataset:
    """The named data set, from the first of `places` that has its files, or from where `source` says if it has image files.

    With `only_test` the training images are not read and need not be there.
    Raises InputError for an unknown name or source and DataError for files that are missing (saying where they belong) or
    corrupt. A data set with fewer images than it should have is noted on standard error.
    """
    if name not in DATA_SETS:
        raise unknown("data set", name, DATA_SETS)
    if name == "digits":
        return read_digits()
    if source is not None and name not in _RESIDENT:
        return _open_source(name, source, data_dir, workers=workers)
    if name in _RESIDENT:
        data = _RESIDENT[name](places(name, data_dir), only_test=only_test)
        if data is not None:
            _note_missing_images(data, only_test=only_test)
            return data
    else:
        for folder in places(name, data_dir):
            if has_splits(folder):
                return open_folder(name, folder)
    raise DataError(
        f"data set {name} is not at {data_dir / name}{_kept_there(data_dir / name)}: put {DATA_SETS[name].files} there, "
        "or name another folder with --data-dir"
    )


def places(name: str, data_dir: Path) -> list[Path]:
    """The folders where a data set may be, the first choice first.

    `data_dir/<name>`, also spelled as CIFAR-10 or ImageNet, then `data_dir` itself; each also with the folders that the
    published archives make.
    """
    folders = [data_dir / name]
    with suppress(OSError):
        spelled = (entry.name for entry in os.scandir(data_dir) if normalized_key(entry.name) == name and entry.name != name)
        folders += [data_dir / entry for entry in sorted(spelled)]
    folders.append(data_dir)
    return [place for folder in folders for place in (folder, *(folder / below for below in _BELOW[name])) if os.path.isdir(place)]


def _kept_there(folder: Path) -> str:
    """What is there instead, for a message."""
    try:
        names = sorted(entry.name for entry in os.scandir(folder) if not is_hidden(entry.name))
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f" ({error.strerror})"
    return f", which holds {', '.join(map(ascii, names[:4]))}{', ...' if len(names) > 4 else ''}" if names else ", which is empty"


def _note_missing_images(data: ResidentDataset, *, only_test: bool) -> None:
    train = ("training", len(data.train), data.info.train_images)
    test = ("test", len(data.test), data.info.test_images)
    for split, images, whole in (test,) if only_test else (train, test):
        if images < whole:
            note(f"{data.name} has {images:,} of its {whole:,} {split} images")


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
    if not os.path.isdir(folder):
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
