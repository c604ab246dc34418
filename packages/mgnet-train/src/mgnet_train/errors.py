"""The errors of training that are more than bad input, each with its exit code. All are one line for the user."""

from __future__ import annotations

import sys
from contextlib import suppress

from mgnet_records.errors import ExitCode, InputError, printable


class DataError(InputError):
    """A data set is missing or corrupt."""

    exit_code = ExitCode.NO_DATA


class BusyError(InputError):
    """Another process holds what this one needs, as a run folder."""

    exit_code = ExitCode.BUSY


class DivergedError(InputError):
    """The loss is no longer finite; the last good checkpoint is untouched."""

    exit_code = ExitCode.DIVERGED


class StoppedError(Exception):
    """A signal asked the run to stop. Everything is saved, and the same command resumes it."""

    exit_code = ExitCode.STOPPED


def note(message: str) -> None:
    """Print one line on standard error: something that is no error and that the user should know."""
    with suppress(OSError, ValueError):  # standard error may be gone with the terminal
        print(f"note: {printable(message)}", file=sys.stderr, flush=True)
