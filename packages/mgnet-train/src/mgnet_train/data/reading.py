"""Reading whole files from folders that other people filled: plain files of a bounded size, and nothing else.

Nothing here waits for a FIFO, follows a loop of links or reads more than it was asked for.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from mgnet_train.errors import DataError

# What another try will not change; everything else, such as EIO, is a failure of the disk.
_LASTING = {
    errno.ENOENT: "is missing",
    errno.ENOTDIR: "is missing",
    errno.ELOOP: "is a link that leads in a circle",
    errno.EACCES: "may not be read by this user",
    errno.EPERM: "may not be read by this user",
    errno.ENAMETOOLONG: "has a name that is too long",
}
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class CorruptFileError(OSError):
    """Something that has a file's name and cannot be read, now or later. The message says why."""


@contextmanager
def open_file(path: Path, *, most: int) -> Iterator[BinaryIO]:
    """The plain file, or the one that a link leads to, for reading.

    Raises CorruptFileError for anything else and for a file of more than `most` bytes, and OSError when the disk fails.
    """
    try:
        _require_plain(os.stat(path), most)  # before it is opened: opening some devices does something
        # Without O_NONBLOCK, a FIFO put there meanwhile would wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ENOENT and path.is_symlink():
            raise CorruptFileError("is a link that leads nowhere") from None
        if error.errno in _LASTING:
            raise CorruptFileError(_LASTING[error.errno]) from None
        raise
    try:
        _require_plain(os.fstat(descriptor), most)
        file = os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise
    with file:
        yield file


def read_file(path: Path, *, most: int) -> bytes:
    """The content of `open_file`, at most `most` bytes, with its errors."""
    with open_file(path, most=most) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise CorruptFileError(_too_large(len(content), most))
    return content


def read_data_file(path: Path, *, most: int) -> bytes:
    """`read_file` for a file that a data set cannot do without: every error is a DataError with the file's name."""
    try:
        return read_file(path, most=most)
    except OSError as error:
        raise DataError(f"{path} {why(error)}: get it again") from None


def why(error: OSError) -> str:
    """The rest of a sentence that begins with the file's name."""
    return str(error) if isinstance(error, CorruptFileError) else f"cannot be read ({error.strerror or error})"


def size_of(path: Path) -> int:
    """The size of a plain file in bytes; -1 for anything else, which nobody can read."""
    try:
        status = os.stat(path)
    except OSError:
        return -1
    return status.st_size if stat.S_ISREG(status.st_mode) else -1


def is_there(path: Path) -> bool:
    """Whether something that should be a file has this name, whole or corrupt; folders do not count."""
    return os.path.lexists(path) and not os.path.isdir(path)


def _require_plain(status: os.stat_result, most: int) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise CorruptFileError(f"is {_KINDS.get(stat.S_IFMT(status.st_mode), 'something unknown')}, no plain file")
    if status.st_size > most:
        raise CorruptFileError(_too_large(status.st_size, most))


def _too_large(size: int, most: int) -> str:
    return f"has {size:,} bytes or more, and {most:,} are the most that it may have"
