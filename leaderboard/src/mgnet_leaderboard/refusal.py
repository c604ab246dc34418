"""The one error a user sees: what was given, where, and how to mend it, on one line."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class RefusedError(ValueError):
    """Input that is not taken; its text is a single line that names the value, the place and the mend."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


def first_fault(error: ValidationError) -> str:
    """The first fault of a failed validation: field, reason, value; and how many more there are."""
    faults = error.errors(include_url=False)
    fault = faults[0]
    field = ".".join(str(part) for part in fault["loc"]) or "the record"
    value = repr(fault["input"])
    shown = value if len(value) <= 60 else value[:57] + "..."
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return f"{field}: {fault['msg']}, got {shown}{more}"
