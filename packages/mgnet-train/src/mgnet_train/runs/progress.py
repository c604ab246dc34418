"""What a person sees while a run trains: a bar on a terminal, one plain line for each epoch elsewhere.

Nobody may be left to see it: the terminal is closed, or the program behind a pipe has ended. That costs no training.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TextIO

from tqdm import tqdm

# tqdm's own lock is shared by forked processes: one that is killed while it holds the lock would block the others for ever.
tqdm.set_lock(threading.RLock())


class Progress:
    """Progress of one run, counted in images, on a stream (standard output by default)."""

    def __init__(self, *, images: int, done: int, quiet: bool = False, stream: TextIO | None = None) -> None:
        self._stream = _Unbreakable(stream or sys.stdout)
        self._quiet = quiet
        on_terminal = not quiet and self._stream.isatty()
        self._bar = tqdm(
            total=images, initial=done, unit=" images", unit_scale=True, file=self._stream, disable=not on_terminal, leave=False
        )

    def advance(self, images: int, *, epoch: int) -> None:
        """Count images; the bar shows the rate and the time left."""
        self._bar.set_description(f"epoch {epoch + 1}", refresh=False)
        self._bar.update(images)

    def say(self, line: str) -> None:
        """Print a line, above the bar if there is one."""
        if not self._quiet:
            self._bar.write(line, file=self._stream)
            self._stream.flush()

    def close(self) -> None:
        """Remove the bar."""
        self._bar.close()


def say(line: str) -> None:
    """Print a line of a command that trains."""
    stream = _Unbreakable(sys.stdout)
    stream.write(line + "\n")
    stream.flush()


def mute(stream: TextIO) -> None:
    """Send what a broken stream still holds nowhere, so that Python's own flush at the end of the process does not fail."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class _Unbreakable:
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
