"""What can go wrong, told in one line, and the exit code that says which kind it was."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from enum import IntEnum


class ExitCode(IntEnum):
    """The documented exit codes; `torchrun` flattens them, so each run's state.json repeats its own."""

    DONE = 0
    FAILED = 1
    BAD_INPUT = 2
    NO_DATA = 66
    DIVERGED = 70
    BUSY = 73
    STOPPED = 75


class UserError(Exception):
    """A mistake the caller can mend. The message is one line: the value, the place, the mend."""

    exit_code = ExitCode.BAD_INPUT


class DataError(UserError):
    """A data set is missing or damaged."""

    exit_code = ExitCode.NO_DATA


class BusyError(UserError):
    """Another process trains in this run folder."""

    exit_code = ExitCode.BUSY


class DivergedError(UserError):
    """The loss stopped being finite; the last good checkpoint is untouched."""

    exit_code = ExitCode.DIVERGED


class StoppedError(Exception):
    """A signal asked the run to stop; everything is saved and the same command resumes it."""

    exit_code = ExitCode.STOPPED


def unknown(kind: str, name: str, known: Iterable[str]) -> UserError:
    """An error for a name that does not exist, with the nearest names that do."""
    return UserError(f"unknown {kind} {name!r}: {near(name, known)}")


def near(name: str, known: Iterable[str]) -> str:
    """The names most like `name`, or the first of all when none is like it."""
    names = sorted(known)
    found = difflib.get_close_matches(name, names, n=4, cutoff=0.5)
    return f"did you mean {', '.join(found)}?" if found else f"known: {', '.join(names[:12])}"
