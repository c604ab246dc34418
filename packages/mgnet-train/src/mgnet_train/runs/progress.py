"""What a person sees while a run trains: a bar on a terminal, one plain line for each epoch elsewhere.

Nobody may be left to see it: the terminal is closed, or the program behind a pipe has ended. That costs no training.
"""

from __future__ import annotations

import sys
import threading
from typing import TextIO

from tqdm import tqdm

from mgnet_train.streams import UnbreakableStream

# tqdm's own lock is shared by forked processes: one that is killed while it holds the lock would block the others for ever.
tqdm.set_lock(threading.RLock())


class Progress:
    """Progress of one run, counted in images, on a stream (standard output by default)."""

    def __init__(self, *, images: int, done: int, quiet: bool = False, stream: TextIO | None = None) -> None:
        self._stream = UnbreakableStream(stream or sys.stdout)
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
    stream = UnbreakableStream(sys.stdout)
    stream.write(line + "\n")
    stream.flush()
