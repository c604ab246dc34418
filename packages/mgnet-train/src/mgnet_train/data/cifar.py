"""CIFAR-10 and CIFAR-100 in the published forms: python pickles, binary records, and the tar.gz of either."""

from __future__ import annotations

import gzip
import tarfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mgnet_records.datasets import DATA_SETS
from mgnet_train.data.dataset import ResidentDataset, Split
from mgnet_train.data.pickled import NoCifarError, PickledArray, read_batch
from mgnet_train.data.reading import is_there, open_file, read_data_file, why
from mgnet_train.errors import DataError

_SHAPE = (3, 32, 32)
_PIXELS = 3 * 32 * 32
_ARCHIVE_REST = 2**24  # of the archive: meta files, headers


@dataclass(frozen=True, kw_only=True)
class _Form:
    """One published form of a data set: its files with the most images of each, and how one is parsed."""

    train: tuple[str, ...]
    test: str
    archives: tuple[str, ...]
    largest: Callable[[int], int]
    """The most bytes of a file of so many images."""
    parse: Callable[[str, bytes], Split]
    """From a file's name, for messages, and its content."""


def find_cifar(name: str, folders: Iterable[Path], *, only_test: bool) -> ResidentDataset | None:
    """CIFAR-10 or CIFAR-100 from the first folder that has it in some form, files before archives; None where none has.

    With `only_test`, the files of the training images need not be there.

    Raises DataError, with the file's name, for a file that is missing or not what it should be.
    """
    for folder in folders:
        for form in _FORMS[name]:
            if any(is_there(folder / file) for file in (*form.train, form.test)):
                return _assembled(name, form, partial(_read_file, folder), str(folder), only_test)
        for form in _FORMS[name]:
            for archive in form.archives:
                if is_there(folder / archive):
                    members = _unpacked(folder / archive, name, form, only_test)
                    return _assembled(name, form, partial(_read_member, members), str(folder / archive), only_test)
    return None


def _assembled(name: str, form: _Form, read: Callable[[str, int], bytes], place: str, only_test: bool) -> ResidentDataset:
    info = DATA_SETS[name]

    def split(files: tuple[str, ...], images: int) -> Split:
        most = images // len(files)
        parts = []
        for file in files:
            part = form.parse(f"{place}/{file}", read(file, form.largest(most)))
            if not 1 <= len(part) <= most:
                raise DataError(f"{place}/{file} has {len(part):,} images, not 1 to {most:,}: get it again")
            parts.append(part)
        return Split(images=torch.cat([part.images for part in parts]), labels=torch.cat([part.labels for part in parts]))

    test = split((form.test,), info.test_images)
    return ResidentDataset(name=name, train=test.emptied() if only_test else split(form.train, info.train_images), test=test)


def _read_file(folder: Path, file: str, most: int) -> bytes:
    return read_data_file(folder / file, most=most)


def _read_member(members: dict[str, bytes], file: str, most: int) -> bytes:
    return members[file]


def _unpacked(archive: Path, name: str, form: _Form, only_test: bool) -> dict[str, bytes]:
    """The files of a form in an archive, read in one pass; what else is in it is skipped, up to a limit on the whole."""
    info, found = DATA_SETS[name], dict[str, bytes]()
    largest = {file: form.largest(info.train_images // len(form.train)) for file in form.train}
    largest[form.test] = form.largest(info.test_images)
    try:
        with open_file(archive, most=sum(largest.values())) as packed:
            content = gzip.GzipFile(fileobj=packed) if archive.suffix == ".gz" else packed
            limited: Any = _Limited(content, sum(largest.values()) + _ARCHIVE_REST)
            with tarfile.open(fileobj=limited, mode="r|") as tar:
                for member in tar:
                    file = member.name.rpartition("/")[2]
                    if file not in largest or not member.isreg() or member.issparse():
                        continue
                    if file in found or member.size > largest[file]:
                        raise DataError(f"{archive} has {member.name} twice or with {member.size:,} bytes: get it again")
                    reader = tar.extractfile(member)
                    assert reader is not None  # a plain file
                    found[file] = reader.read()
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"{archive} {why(error)}: get it again") from None
    except Exception as error:  # tarfile and zlib pass on what a corrupt file makes them do
        raise DataError(f"{archive} is no whole archive ({type(error).__name__}: {error}): get it again") from None
    if missing := sorted(({form.test} if only_test else {*largest}) - {*found}):
        raise DataError(f"{archive} lacks {', '.join(missing)}: get it again")
    return found


class _Limited:
    """A stream that ends with an error after so many bytes: a few megabytes of gzip may unpack to terabytes."""

    def __init__(self, stream: Any, most: int) -> None:
        self._stream, self._left = stream, most

    def read(self, size: int) -> bytes:
        content: bytes = self._stream.read(min(size, self._left + 1))
        self._left -= len(content)
        if self._left < 0:
            raise tarfile.ReadError("it unpacks to more than the data set")
        return content


def _largest_pickle(images: int) -> int:
    """Pixels, or twice as much where they are text, as Python 3 writes protocol 2; and for each image its name and labels."""
    return images * (2 * _PIXELS + 512) + 2**20


def _parse_pickle(name: str, content: bytes, *, labels_key: str, classes: int) -> Split:
    try:
        batch = read_batch(content)
    except NoCifarError as error:
        raise DataError(f"{name} {error}: get it again") from None
    pixels = batch.get("data")
    if not isinstance(pixels, PickledArray):
        raise DataError(f"{name} has no array of images: get it again")
    images = pixels.checked("u1")
    if images is None or images.ndim != 2 or images.shape[1] != _PIXELS:
        raise DataError(f"{name} has {pixels} for its images, not 8-bit numbers (n, {_PIXELS}): get it again")
    labels = batch.get(labels_key)
    if isinstance(labels, PickledArray):
        numbers = labels.checked("i8")
        labels = None if numbers is None or numbers.ndim != 1 else numbers.tolist()
    if not isinstance(labels, list) or any(type(label) is not int for label in labels):
        raise DataError(f"{name} has no whole numbers as {labels_key}: get it again")
    if len(labels) != len(images):
        raise DataError(f"{name} has {len(images)} images and {len(labels)} labels: get it again")
    _require_labels(name, labels, classes)
    return Split(images=torch.from_numpy(images.reshape(-1, *_SHAPE).copy()), labels=torch.tensor(labels, dtype=torch.int64))


def _parse_binary(name: str, content: bytes, *, label_bytes: int, classes: int) -> Split:
    """Records of the labels, the last of which counts, and the pixels."""
    record = label_bytes + _PIXELS
    if len(content) % record:
        raise DataError(f"{name} has {len(content)} bytes, which is no multiple of {record}: get it again")
    records = np.frombuffer(content, dtype=np.uint8).reshape(-1, record)
    labels = records[:, label_bytes - 1].astype(np.int64)
    _require_labels(name, labels.tolist(), classes)
    images = records[:, label_bytes:].reshape(-1, *_SHAPE).copy()
    return Split(images=torch.from_numpy(images), labels=torch.from_numpy(labels))


def _require_labels(name: str, labels: list[int], classes: int) -> None:
    if labels and not 0 <= min(labels) <= max(labels) < classes:
        raise DataError(f"{name} has labels outside 0..{classes - 1}: get it again")


_FORMS: dict[str, tuple[_Form, ...]] = {
    "cifar10": (
        _Form(
            train=tuple(f"data_batch_{number}" for number in range(1, 6)),
            test="test_batch",
            archives=("cifar-10-python.tar.gz", "cifar-10-python.tar", "cifar-10-batches-py.tar.gz", "cifar-10-batches-py.tar"),
            largest=_largest_pickle,
            parse=partial(_parse_pickle, labels_key="labels", classes=10),
        ),
        _Form(
            train=tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
            test="test_batch.bin",
            archives=("cifar-10-binary.tar.gz", "cifar-10-binary.tar"),
            largest=lambda images: images * (1 + _PIXELS),
            parse=partial(_parse_binary, label_bytes=1, classes=10),
        ),
    ),
    "cifar100": (
        _Form(
            train=("train",),
            test="test",
            archives=("cifar-100-python.tar.gz", "cifar-100-python.tar"),
            largest=_largest_pickle,
            parse=partial(_parse_pickle, labels_key="fine_labels", classes=100),
        ),
        _Form(
            train=("train.bin",),
            test="test.bin",
            archives=("cifar-100-binary.tar.gz", "cifar-100-binary.tar"),
            largest=lambda images: images * (2 + _PIXELS),
            parse=partial(_parse_binary, label_bytes=2, classes=100),
        ),
    ),
}
