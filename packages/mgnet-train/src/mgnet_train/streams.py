"""The standard streams of a command. They may be closed, full, or lead to a terminal or a pipe that is gone."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TextIO


def open_standard_streams() -> None:
    """Where a process was started with closed streams, give it empty ones: files would take their numbers."""
    for number, name, flags in ((0, "stdin", os.O_RDONLY), (1, "stdout", os.O_WRONLY), (2, "stderr", os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, flags)  # takes the lowest free number, which is this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "r" if number == 0 else "w", closefd=False))  # noqa: SIM115 - for the process


def mute(stream: TextIO) -> None:
    """Send what a broken stream still holds nowhere, so that Python's own flush at the end of the process does not fail."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class UnbreakableStream:
    """A stream that says once, on standard error, that it cannot be written, and never raises."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream  # None where the process was started without standard output
        self._is_broken = False
        self.encoding = getattr(stream, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        self._try(lambda stream: stream.write(_encodable(text, stream)))
        return len(text)

    def flush(self) -> None:
        self._try(lambda stream: stream.flush())

    def isatty(self) -> bool:
        return self._stream is not None and not self._stream.closed and self._stream.isatty()

    def fileno(self) -> int:
        """For tqdm, which asks how wide the terminal is."""
        if self._stream is None:
            raise OSError("no stream")
        return self._stream.fileno()

    def _try(self, work: Callable[[TextIO], object]) -> None:
        if self._stream is None:
            return
        try:
            work(self._stream)
        except (OSError, ValueError) as error:  # ValueError: it is closed
            if not self._is_broken:
                self._is_broken = True
                why = error.strerror if isinstance(error, OSError) else str(error)
                with suppress(OSError, ValueError, AttributeError):
                    print(f"standard output cannot be written ({why}): going on without it", file=sys.stderr, flush=True)
            # On a disk that is full now the next line may find room; nobody comes back to a pipe or a terminal.
            if not isinstance(error, OSError) or error.errno != errno.ENOSPC:
                stream, self._stream = self._stream, None
                mute(stream)


def _encodable(text: str, stream: TextIO) -> str:
    """The text with what the stream's encoding does not have escaped."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)
