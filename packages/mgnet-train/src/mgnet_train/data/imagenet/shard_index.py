"""Where each image is in tar shards (webdataset's layout): the shards are scanned once, and the index is cached.

The cache is in the user's cache folder, because shards are often on a read-only disk. It is valid as long as the shards have
the sizes and modification times that they had.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from io import BytesIO
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from mgnet_records.errors import InputError
from mgnet_records.files import write_bytes
from mgnet_train.data.decoding import IMAGE_SUFFIXES, MOST_BYTES
from mgnet_train.data.imagenet.names import is_passed_over
from mgnet_train.data.reading import open_file, why
from mgnet_train.data.workers import batches
from mgnet_train.errors import DataError

_BLOCK = 512
_LARGEST_HEADER = 2**20
_LARGEST_LABEL = 32
_LABEL = re.compile(rb"\s*[0-9]{1,9}\s*")
_KEY = re.compile(r"^((?:.*/|)[^.]+)[.]([^/]*)$")  # webdataset's rule: the key ends at the first dot of the file's name


@dataclass(frozen=True, kw_only=True)
class ShardIndex:
    """For each sample the number of its shard, key and label, and offset and size of its image's file in the shard."""

    shards: NDArray[np.int64]
    keys: NDArray[np.bytes_]
    labels: NDArray[np.int64]
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]


def index_of(paths: Sequence[Path], *, workers: int) -> ShardIndex:
    """The samples of all shards, in the order of the shards; `workers` processes scan them when the cache does not have them.

    Raises DataError for a shard that is missing or corrupt, and for a sample without image or label.
    """
    try:
        states = [(path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    except OSError as error:
        reason = "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
        raise DataError(f"{error.filename} {reason}: get the shard") from None
    state = hashlib.sha256(repr(states).encode()).hexdigest()
    kept = _cache() / f"{hashlib.sha256(repr([str(path.resolve()) for path in paths]).encode()).hexdigest()[:16]}.npz"
    index = _read(kept, state)
    if index is None:
        index = _scan_all(paths, workers)
        with suppress(OSError, InputError):  # without a cache the next start scans again
            _write(kept, state, index)
    return index


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "mgnet-train" / "shards"


def _read(kept: Path, state: str) -> ShardIndex | None:
    try:
        arrays = np.load(BytesIO(kept.read_bytes()))
        if str(arrays["state"]) == state:
            return ShardIndex(**{field.name: arrays[field.name] for field in fields(ShardIndex)})
    except Exception:  # a corrupt file can raise anything
        pass
    return None


def _write(kept: Path, state: str, index: ShardIndex) -> None:
    content = BytesIO()
    np.savez(content, state=np.array(state), **asdict(index))
    kept.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(kept, content.getvalue())


def _scan_all(paths: Sequence[Path], workers: int) -> ShardIndex:
    print(f"scanning {len(paths)} shards in {paths[0].parent}, once", file=sys.stderr)
    samples = []
    scanned = batches(_Shards(paths), collate=lambda found: found, workers=min(workers, len(paths)))
    for number, found in enumerate(scanned):
        if isinstance(found, str):
            raise DataError(found)
        samples += [(number, *sample) for sample in found]
    shards, keys, labels, offsets, sizes = list(zip(*samples)) or [()] * 5
    numbers = [np.array(column, dtype=np.int64) for column in (shards, labels, offsets, sizes)]
    return ShardIndex(
        shards=numbers[0], keys=np.array(keys, dtype=np.bytes_), labels=numbers[1], offsets=numbers[2], sizes=numbers[3]
    )


_Sample = tuple[bytes, int, int, int]


class _Shards(Dataset[Any]):
    """The samples of each shard, or the message of what is wrong with it: raised in a worker, it would come as a traceback."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, number: int) -> list[_Sample] | str:
        path = self._paths[number]
        try:
            return _scan(path)
        except DataError as error:
            return str(error)
        except OSError as error:
            return f"{path} {why(error)}: get it again"
        except Exception as error:  # tarfile passes on what a corrupt header makes it do
            return f"{path} is no whole tar file ({error}): get it again, not compressed"


def _scan(path: Path) -> list[_Sample]:
    samples = []
    with open_file(path, most=sys.maxsize) as shard, _tar(shard) as tar:
        for key, parts in groupby(_members(tar), key=lambda member: member[0]):
            files = {suffix: member for _, suffix, member in parts}
            image = next((files[suffix] for suffix in IMAGE_SUFFIXES if suffix in files), None)
            if image is None and "cls" not in files:
                continue
            if image is None or "cls" not in files:
                lacks = "label (.cls)" if image is not None else f"image (.{', .'.join(IMAGE_SUFFIXES)})"
                raise DataError(f"{path}: {key} has no {lacks}: write the shard again")
            if image.size > MOST_BYTES or image.issparse():
                raise DataError(f"{path}: {key} is sparse or larger than {MOST_BYTES:,} bytes: write the shard again")
            samples.append((os.fsencode(key), _label(path, key, shard, files["cls"]), image.offset_data, image.size))
        # After a corrupt header, and at the end of a file truncated between two members, tarfile just stops:
        # a whole archive has an empty block there.
        shard.seek(tar.offset)
        if shard.read(_BLOCK) != bytes(_BLOCK):
            raise DataError(f"{path} is truncated or corrupt at byte {tar.offset}: get it again")
    return samples


def _tar(shard: BinaryIO) -> tarfile.TarFile:
    headers: Any = _SmallReads(shard)
    return tarfile.open(fileobj=headers, mode="r:")


class _SmallReads:
    """A shard as tarfile sees it: headers are read at once, and a corrupt one may ask for gigabytes."""

    def __init__(self, shard: BinaryIO) -> None:
        self._shard = shard
        self.seek, self.tell = shard.seek, shard.tell

    def read(self, size: int) -> bytes:
        if size > _LARGEST_HEADER:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        return self._shard.read(size)


def _members(tar: tarfile.TarFile) -> Iterator[tuple[str, str, tarfile.TarInfo]]:
    """Key, suffix and member for each file that belongs to a sample."""
    for member in tar:
        match = _KEY.match(member.name)
        if member.isreg() and match and not is_passed_over(member.name):
            yield match[1], match[2].lower(), member


def _label(path: Path, key: str, shard: BinaryIO, member: tarfile.TarInfo) -> int:
    shard.seek(member.offset_data)
    content = shard.read(min(member.size, _LARGEST_LABEL + 1))
    if not _LABEL.fullmatch(content):
        raise DataError(f"{path}: {key} has the label {content[:20]!r}, no number: write the shard again")
    return int(content)
