"""Every way in which one file of a run folder can be damaged."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

NOBODY = 65534


def _flip(position: Callable[[int], int]) -> Callable[[Path, Path], None]:
    def damage(path: Path, other: Path) -> None:
        content = bytearray(path.read_bytes())
        if content:
            content[position(len(content))] ^= 1
        path.write_bytes(bytes(content))

    return damage


def _rewrite(change: Callable[[bytes], bytes]) -> Callable[[Path, Path], None]:
    return lambda path, other: path.write_bytes(change(path.read_bytes())) and None


def _replace(make: Callable[[Path], object]) -> Callable[[Path, Path], None]:
    def damage(path: Path, other: Path) -> None:
        path.unlink()
        make(path)

    return damage


def _another_runs(path: Path, other: Path) -> None:
    if (other / path.name).exists():
        shutil.copyfile(other / path.name, path)


def _close(path: Path, mode: int) -> None:
    os.chmod(path, mode)
    if os.geteuid() == 0:
        os.chown(path, 0, 0)


# Damage -> what it does to a file, given another run's folder.
DAMAGES: dict[str, Callable[[Path, Path], None]] = {
    "first byte": _flip(lambda n: 0),
    "middle byte": _flip(lambda n: n // 2),
    "last byte": _flip(lambda n: n - 1),
    "half": _rewrite(lambda content: content[: len(content) // 2]),
    "one byte less": _rewrite(lambda content: content[:-1]),
    "empty": _rewrite(lambda content: b""),
    "garbage": _rewrite(lambda content: bytes(i * 37 % 251 for i in range(len(content)))),
    "one byte more": _rewrite(lambda content: content + b"\n"),
    "doubled": _rewrite(lambda content: content * 2),
    "another run's": _another_runs,
    "deleted": _replace(lambda path: None),
    "folder": _replace(lambda path: path.mkdir()),
    "dangling link": _replace(lambda path: path.symlink_to(path.with_name("nowhere"))),
    "looping link": _replace(lambda path: path.symlink_to(path)),
    "link into nowhere": _replace(lambda path: path.symlink_to("/proc/self/nowhere/at/all")),
    "pipe": _replace(os.mkfifo),
    "device": _replace(lambda path: os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))),  # /dev/zero
    "unreadable": lambda path, other: _close(path, 0o000),
    "wrong owner": lambda path, other: _close(path, 0o600),
}
