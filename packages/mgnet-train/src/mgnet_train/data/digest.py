"""The digest of everything a data set of image files holds: every file is read once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from mgnet_train.data.imagenet.images import ImageFiles, StreamedDataset
from mgnet_train.data.reading import CorruptFileError, why
from mgnet_train.errors import DataError

_AT_ONCE = 4096


def contents_sha256(data: StreamedDataset, *, threads: int, between: Callable[[], object]) -> str:
    """Digest of split, label and content of every image, in their order, so it is the same for folder, shards and rows.

    A corrupt file, which nobody can read, counts as such in the digest. `threads` read, at least one. `between` is called every
    4,096 images and may raise to abort. Raises DataError when the disk fails.
    """
    digest = hashlib.sha256()
    with ThreadPoolExecutor(max(1, threads)) as pool:
        for split, files in (("train", data.train), ("val", data.test)):
            for first in range(0, len(files), _AT_ONCE):
                between()
                part = range(first, min(first + _AT_ONCE, len(files)))
                for index, content in zip(part, pool.map(partial(_digest, files), part)):
                    digest.update(b"%s %d %s\n" % (split.encode(), files.labels[index], content.encode()))
    return digest.hexdigest()


def _digest(files: ImageFiles, index: int) -> str:
    try:
        return hashlib.sha256(files.encoded(index)).hexdigest()
    except CorruptFileError:
        return "corrupt"
    except OSError as error:
        raise DataError(f"{files.location(index)} {why(error)}: get it again") from None
