"""Images in tar shards (webdataset's layout), found by timm's factory and read by random access.

timm's own reader runs through the shards with a shuffle buffer whose content depends on workers, processes and the step at
which a start began. Here every image is read from its offset in its shard, so that shards give what the image folder gives.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from mgnet_records.errors import printable
from mgnet_train.data.imagenet.images import ImageFiles, stem
from mgnet_train.data.imagenet.names import is_hidden
from mgnet_train.data.imagenet.shard_index import ShardIndex, index_of
from mgnet_train.data.reading import open_file, read_data_file
from mgnet_train.errors import DataError

_LARGEST_INFO = 2**26


def find_shards(folder: Path, split: str, *, workers: int) -> ImageFiles:
    """The images of a split, `train` or `val`, from the shards that timm's factory finds in the folder.

    Raises DataError for a shard that is missing, corrupt or without as many images as the folder's info file says, and for a
    sample without image or label.
    """
    paths, lengths = _shards(folder, split)
    index = index_of(paths, workers=workers)
    for path, count, length in zip(paths, np.bincount(index.shards, minlength=len(paths)), lengths):
        if count != length:
            raise DataError(f"{path} has {count} images, its folder's info file says {length}: get it again")
    if not len(index.labels):
        raise DataError(f"the shards of {split} in {folder} hold no images: get them again")
    return _ShardFiles(paths, index)


class _ShardFiles(ImageFiles):
    def __init__(self, paths: list[Path], index: ShardIndex) -> None:
        order = np.lexsort((index.keys, index.labels))
        self.labels, self._keys, self._paths = index.labels[order], index.keys[order], paths
        self._shards, self._offsets, self._sizes = index.shards[order], index.offsets[order], index.sizes[order]

    def encoded(self, index: int) -> bytes:
        with open_file(self._paths[self._shards[index]], most=sys.maxsize) as shard:
            shard.seek(self._offsets[index])
            return shard.read(self._sizes[index])

    def location(self, index: int) -> str:
        return printable(f"{self._paths[self._shards[index]]}: {os.fsdecode(self._keys[index])}")

    def names(self) -> Iterable[bytes]:
        return map(stem, self._keys)

    def sizes(self) -> Iterable[int]:
        return self._sizes


def _shards(folder: Path, split: str) -> tuple[list[Path], list[int]]:
    """The shards of a split, and their numbers of images where the folder's info file has them."""
    from timm.data import create_dataset

    infos = [folder / name for name in ("_info.json", "info.json") if os.path.lexists(folder / name)]
    if infos:
        read_data_file(infos[0], most=_LARGEST_INFO)  # timm would wait for a FIFO
        asked = {"train": "train", "val": "validation"}[split]
    else:
        asked = "::".join(_by_name(folder, split))
        # timm would warn that there is no info file; the names of the shards replace it.
        logging.getLogger("timm.data.readers.reader_wds").setLevel(logging.ERROR)
    if not asked:
        raise DataError(f"{folder} has neither _info.json nor shards with {split!r} in their names (*{split}*.tar): put them there")
    try:
        found = create_dataset("wds/", root=str(folder.resolve()), split=asked).reader.split_info
        names, lengths = [folder / str(name) for name in found.filenames], [int(length) for length in found.shard_lengths]
    except Exception as error:  # an info file can be wrong in many ways
        raise DataError(f"{folder} cannot be opened by timm ({type(error).__name__}: {error}): get its info file again") from None
    if found.alt_label:
        raise DataError(f"{folder} keeps its labels as {found.alt_label!r}, not in .cls files: use shards of the plain data set")
    if not names or len({*names}) < len(names) or (infos and len(lengths) != len(names)):
        raise DataError(f"{infos[0] if infos else folder} names no shards, one twice, or not the length of each: get it again")
    return names, lengths


def _by_name(folder: Path, split: str) -> list[str]:
    other = {"train": "val", "val": "train"}[split]
    names = sorted(path.name for path in folder.glob("*.tar") if split in path.name and not is_hidden(path.name))
    for name in names:
        if other in name:
            raise DataError(f"{folder / name} has both 'train' and 'val' in its name: rename it, or write an _info.json")
    return names
