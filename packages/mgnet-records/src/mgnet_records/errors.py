"""Bad input: one line for the user, the exit code, and the nearest names of a misspelled one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from difflib import SequenceMatcher
from enum import IntEnum
from re import split
from typing import ClassVar

# A name is near when this much of it is the same: characters in order, or parts between separators.
_SAME_CHARACTERS = 0.6
_SAME_PARTS = 0.6


class ExitCode(IntEnum):
    """The exit codes of all commands; FAILED is a check that did not pass, BAD_INPUT a request that cannot be served."""

    DONE = 0
    FAILED = 1
    BAD_INPUT = 2
    NO_DATA = 66
    DIVERGED = 70
    BUSY = 73
    STOPPED = 75


class InputError(Exception):
    """Input that cannot be used. The message is one line: the value, the place, the fix.

    White space is collapsed, and what no terminal can print is escaped: file names need not be UTF-8.
    """

    exit_code: ClassVar[ExitCode] = ExitCode.BAD_INPUT

    def __init__(self, message: str) -> None:
        super().__init__(printable(" ".join(message.split())))


def printable(text: str) -> str:
    """The text with what no terminal can print escaped: control characters, and bytes of file names that are not UTF-8.

    Printing it twice changes nothing more.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shown(value: object, limit: int = 80) -> str:
    """`repr` of a value for a message, cut where it is longer than a person reads."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text)} characters)"


def unknown(kind: str, name: str, known: Iterable[str]) -> InputError:
    """The error for a name that does not exist, with the nearest names that do, or the first of all when none is near."""
    names = sorted(known)
    if near := near_names(name, names):
        return InputError(f"unknown {kind} {shown(name)}: did you mean {', '.join(near)}?")
    listed = ", ".join(names[:12]) + (f", ... ({len(names)} in all)" if len(names) > 12 else "")
    return InputError(f"unknown {kind} {shown(name)}: known are {listed or 'none'}")


def near_names(name: str, known: Iterable[str], *, limit: int = 4) -> list[str]:
    """At most `limit` known names most like `name`, the nearest first.

    Parts between separators count beside characters: mgnet_2_2_2_c256 lacks parts of mgnet_2_2_2_2_c256_bl, which
    is nearer than the shorter mgnet_2_2_2_c16_bl, where a part is another one. Case does not count.
    """
    name = name[:200]  # what is longer is near to none, and comparing it would take long
    scored = []
    for candidate in sorted(set(known)):
        characters, parts = _same_characters(name.lower(), candidate.lower()), _same_parts(name.lower(), candidate.lower())
        if characters >= _SAME_CHARACTERS or parts >= _SAME_PARTS:
            scored.append((-(characters + parts), candidate))
    return [candidate for _, candidate in sorted(scored)[:limit]]


def _same_characters(name: str, candidate: str) -> float:
    return SequenceMatcher(None, name, candidate, autojunk=False).ratio()


def _same_parts(name: str, candidate: str) -> float:
    """Dice's coefficient of the two multisets of parts, from 0 to 1."""
    ours, theirs = (Counter(part for part in split(r"[^a-z0-9]+", text) if part) for text in (name, candidate))
    total = ours.total() + theirs.total()
    return 2 * (ours & theirs).total() / total if total else 0.0
