"""One process for one run folder: a lock that the kernel releases when its holder dies, so it can never be stale."""

from __future__ import annotations

import fcntl
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mgnet_records.errors import InputError
from mgnet_train.errors import BusyError
from mgnet_train.runs.folder import open_plain, require_plain

LOCK = "lock"
MOUNTS = Path("/proc/self/mountinfo")
_DEADLINE = 300.0

_held: set[int] = set()


def _release_in_child() -> None:
    """A forked process, such as a worker that reads images, must not keep the lock of a holder that was killed."""
    for file in _held:
        os.close(file)
    _held.clear()


os.register_at_fork(after_in_child=_release_in_child)


class FolderLock:
    """The lock on a run folder, held from construction until `release` or the end of the process."""

    def __init__(self, folder: Path) -> None:
        self._file = _opened(folder / LOCK)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if not isinstance(error, BlockingIOError):
                os.close(self._file)
                raise _no_locks(folder / LOCK, error) from None
            holder = os.pread(self._file, 200, 0).decode(errors="replace").strip() or "another process"
            os.close(self._file)
            raise BusyError(f"{folder} is being trained by {holder}: wait for it, or use another --seed or --runs") from None
        _held.add(self._file)
        with suppress(OSError):  # for whoever finds the folder locked; a full disk must not end a training
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)

    def release(self) -> None:
        """Release the lock."""
        _held.discard(self._file)
        os.close(self._file)


def is_locked(folder: Path) -> bool:
    """Whether a living process trains in the folder."""
    try:
        file = open_plain(folder / LOCK)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no locks here, so nobody can train here
        return False
    finally:
        os.close(file)
    return False


@contextmanager
def exclusive(path: Path, *, seconds: float = _DEADLINE) -> Iterator[None]:
    """Hold the lock file at `path`; waits for other holders. Raises BusyError when that takes longer than `seconds`."""
    file = _opened(path)
    try:
        deadline = time.monotonic() + seconds
        while not _acquired(file, path):
            if time.monotonic() > deadline:
                raise BusyError(f"{path} has been held by another process for {seconds:g} s: wait for that process, or end it")
            time.sleep(0.02)
        yield
    finally:
        os.close(file)


def _opened(path: Path) -> int:
    require_plain([path])
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        raise InputError(f"{path} cannot be opened ({error.strerror}): make it yours or move it away") from None


def _acquired(file: int, path: Path) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise _no_locks(path, error) from None
    return True


def _no_locks(path: Path, error: OSError) -> InputError:
    where = f"its file system ({file_system(path)})"
    return InputError(f"{path} cannot be locked ({error.strerror}): {where} has no flock, so use --runs on one that has")


def file_system(path: Path, *, mounts: Path = MOUNTS) -> str:
    """Type and place of a file's file system, as "nfs4 at /home"; "of unknown type" where the system does not say."""
    mount = _mount_of(path, mounts)
    return "of unknown type" if mount is None else f"{mount[1]} at {mount[0]}"


def require_shared_locks(path: Path, *, mounts: Path = MOUNTS) -> None:
    """Raise InputError when locks on the file system of `path` do not reach other machines, as its mount options say."""
    mount = _mount_of(path, mounts)
    local = set() if mount is None else mount[2] & {"localflock", "nolock", "local_lock=flock", "local_lock=all"}
    if local:
        raise InputError(
            f"{path} is on {file_system(path, mounts=mounts)}, mounted with {', '.join(sorted(local))}: its locks do not reach "
            "other machines, so two tasks would train one run; use --runs on another file system, or one task"
        )


def _mount_of(path: Path, mounts: Path) -> tuple[str, str, set[str]] | None:
    """Mount point, type and options of the file system that holds `path`; None when that is not known."""
    found = []
    try:
        for line in mounts.read_text(errors="surrogateescape").splitlines():
            # proc(5): id, parent, device, root, mount point, options, optional fields, "-", type, source, options
            before, after = (part.split(" ") for part in line.split(" - ", 1))
            point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), before[4])
            found.append((point, after[0], {*before[5].split(","), *after[2].split(",")}))
    except (OSError, ValueError, IndexError):  # not Linux
        return None
    whole = path.resolve()
    inside = [mount for mount in found if whole.is_relative_to(mount[0])]
    # The deepest one; of several at one place, the last hides the others.
    return max(enumerate(inside), key=lambda numbered: (len(numbered[1][0]), numbered[0]))[1] if inside else None
