"""Where the images of a data set come from, in timm's words: `wds/NAME` for tar shards, `hfds/NAME` for a Hugging Face data set."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from mgnet_train.data.imagenet.hf import find_rows
from mgnet_train.data.imagenet.images import ImageFiles, StreamedDataset
from mgnet_train.data.imagenet.tar import find_shards
from mgnet_train.errors import DataError, UserError

# Prefix, which is also the name of an extra of ours -> the package that timm needs for it.
PACKAGES = {"wds": "webdataset", "hfds": "datasets"}
_SEQUENTIAL = ("tfds", "hfids")


def open_source(name: str, source: str, data_dir: Path, *, workers: int) -> StreamedDataset:
    """The data set from `data_dir/NAME`, for a source `wds/NAME` or `hfds/NAME`; `workers` processes look through shards.

    Raises UserError for a source that is not supported or whose package is missing, DataError when nothing is there.
    """
    prefix, folder = _parsed(source, data_dir)
    if find_spec(PACKAGES[prefix]) is None:
        raise UserError(f"source {source!r} needs the package {PACKAGES[prefix]}: install mgnet-train[{prefix}]")
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
        raise UserError(f"source {source!r} can be read in sequence only, and runs could not be resumed: use wds/NAME or hfds/NAME")
    if prefix not in PACKAGES or not path:
        raise UserError(f"unknown source {source!r}: use wds/NAME or hfds/NAME, with NAME a folder below --data-dir")
    return prefix, data_dir / path
