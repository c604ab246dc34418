"""Several commands at once, as one for each GPU: a signal that asks this process to stop is passed on to them."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence

from mgnet_train.errors import StoppedError
from mgnet_train.runs.signals import StopRequest

_SECONDS_BETWEEN_LOOKS = 0.1


def run_side_by_side(commands: Sequence[Sequence[str]]) -> list[int]:
    """The exit codes of all commands. Raises StoppedError when a signal came before all had ended well."""
    with StopRequest() as stop:
        processes = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for command in commands]
        was_told = False
        while any(process.poll() is None for process in processes):
            if stop.asked and not was_told:
                was_told = True
                for process in processes:
                    process.terminate()
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        codes = [process.wait() for process in processes]
        if stop.asked and any(codes):
            raise StoppedError("stopped by a signal; the same command goes on")
        return codes
