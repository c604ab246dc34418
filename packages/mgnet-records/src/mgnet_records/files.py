"""Files that are either the old one or the new one, never half of either."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any

from mgnet_records.canonical import document_text
from mgnet_records.errors import InputError


def write_bytes(path: Path, content: bytes, *, durable: bool = False, only_if_changed: bool = False) -> bool:
    """Replace `path` by `content`; False when `only_if_changed` is set and the file already holds it.

    `durable` waits until the disk has the file and its name. The mode is what the umask leaves of 0666. Raises
    InputError, with the OSError as its cause, when the path cannot be written; the old file is then untouched (only when
    the folder refuses to be synced is the new one already there, whole).
    """
    require_writable(path)
    # The temporary file lies in the same folder: os.replace is atomic within one file system only. The name is cut so
    # that it stays below the 255 bytes of a file name.
    temporary = path.with_name(f".{path.name[:40]}.{secrets.token_hex(6)}.tmp")
    try:
        if only_if_changed and path.is_file() and path.read_bytes() == content:
            return False
        # 0o666 less the umask, as open() gives; mkstemp and many libraries would leave 0600, unreadable for others.
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
        if durable:
            sync_folder(path.parent)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}; free the place or choose another file") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    return True


def write_text(path: Path, text: str, *, durable: bool = False, only_if_changed: bool = False) -> bool:
    """`write_bytes` of the text in UTF-8, line ends as they are."""
    return write_bytes(path, text.encode(), durable=durable, only_if_changed=only_if_changed)


def write_json(path: Path, value: Any, *, durable: bool = False, only_if_changed: bool = False) -> bool:
    """`write_bytes` of `document_text(value)`. Raises ValueError for NaN before the file is touched."""
    return write_text(path, document_text(value), durable=durable, only_if_changed=only_if_changed)


def require_writable(path: Path) -> None:
    """Refuse a path that cannot be written, before any work is done for it.

    Raises InputError for a missing or closed folder, and for a path that is a folder, a link or a device: os.replace
    would put a plain file in place of a link or of /dev/null.
    """
    folder = path.parent
    try:
        if path.is_symlink():
            raise InputError(f"cannot write {path}: it is a link; give the file that it leads to")
        if path.is_dir():
            raise InputError(f"cannot write {path}: it is a folder; give the name of a file")
        if path.exists() and not path.is_file():
            raise InputError(f"cannot write {path}: it is no plain file; give the name of a file")
        if not folder.is_dir():
            raise InputError(f"cannot write {path}: folder {folder} does not exist; create it or choose another")
    except OSError as error:  # such as a loop of links or a name too long
        raise InputError(f"cannot write {path}: {error.strerror or error}; choose another file") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"cannot write {path}: no permission in {folder}; choose another file")


def sync_folder(folder: Path) -> None:
    """Wait until the disk has the folder's entries, so that a rename survives a power cut. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
