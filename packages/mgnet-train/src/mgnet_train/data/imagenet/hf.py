"""Images in the rows of a Hugging Face data set on this machine, through timm's factory."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from mgnet_records.errors import printable
from mgnet_train.data.decoding import MOST_BYTES
from mgnet_train.data.imagenet.images import ImageFiles, stem
from mgnet_train.data.reading import CorruptFileError, read_file
from mgnet_train.errors import DataError

_SPLITS = {"train": "train", "val": "validation"}


def find_rows(folder: Path, split: str, *, cache: Path) -> ImageFiles:
    """The images of a split, `train` or `val`, from columns `image` and `label`.

    The folder holds the data set as its hub has it (parquet files), or as `DatasetDict.save_to_disk` wrote it. The package
    datasets makes Arrow files of it, once, and maps them into memory: in the folder that its own HF_DATASETS_CACHE names, or
    else in `cache`. Raises DataError when that fails.
    """
    from timm.data import create_dataset

    asked = _SPLITS[split]
    root = None if "HF_DATASETS_CACHE" in os.environ else str(cache)
    try:
        # The path is absolute, so that nothing is looked up on a hub.
        return _RowFiles(create_dataset(f"hfds/{folder.resolve()}", root=root, split=asked).reader, f"{folder}, {asked}")
    except Exception as error:  # datasets passes on the errors of its parts
        raise DataError(
            f"{folder} has no images and labels that timm can open, {asked} ({type(error).__name__}: {error})"
        ) from None


class _RowFiles(ImageFiles):
    def __init__(self, reader: Any, source: str) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        self._reader, self._source = reader, source
        table = reader.dataset.with_format("arrow")[:]  # mapped into memory, no image is read
        paths = pc.fill_null(pc.struct_field(table["image"], "path"), "").to_pylist()
        names = np.array([stem(path.encode()) for path in paths], dtype=np.bytes_)
        if not pa.types.is_integer(table["label"].type):
            raise TypeError(f"the column label is {table['label'].type}, not whole numbers")
        labels = pc.fill_null(table["label"], -1).to_numpy().astype(np.int64)
        sizes = pc.fill_null(pc.binary_length(pc.struct_field(table["image"], "bytes")), 0).to_numpy()
        self._rows = np.lexsort((names, labels))
        self.labels, self._names, self._sizes = labels[self._rows], names[self._rows], sizes[self._rows]

    def encoded(self, index: int) -> bytes:
        image = self._reader.dataset[int(self._rows[index])]["image"] or {}  # as timm's reader, which would wait for a FIFO
        if image.get("bytes"):
            content: bytes = image["bytes"]
            return content
        if not image.get("path"):
            raise CorruptFileError("has neither content nor path")
        return read_file(Path(image["path"]), most=MOST_BYTES)

    def location(self, index: int) -> str:
        return printable(f"{self._source}: row {self._rows[index]}")

    def names(self) -> Iterable[bytes]:
        return self._names

    def sizes(self) -> Iterable[int]:
        return self._sizes
