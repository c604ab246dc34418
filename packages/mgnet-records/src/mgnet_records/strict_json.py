"""JSON read without forgiveness: a plain file of bounded size, no NaN, no key twice, no unknown field."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from mgnet_records.errors import InputError, shown

Value = TypeVar("Value")

# Bytes. A run's result has 3 kB; what is far larger is something else.
DOCUMENT_LIMIT = 64 * 1024
# Bytes, for the paper's 173 table rows in one file, a certificate in a record, or 1,000 seeds of one identity.
RECORD_LIMIT = 512 * 1024


def read_document(path: Path, adapter: TypeAdapter[Value], *, limit: int = DOCUMENT_LIMIT) -> Value:
    """The value in the file. Raises InputError for no plain file, more than `limit` bytes, other JSON or another shape."""
    text = _read_bounded(path, limit)
    try:
        # json looks for what pydantic forgives: repeated keys, NaN, and numbers that overflow.
        json.loads(text, parse_constant=_no_constant, parse_float=_finite, object_pairs_hook=_no_repetition)
        return adapter.validate_json(text)
    except ValidationError as error:
        raise InputError(f"{path}: {first_fault(error)}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not strict JSON: {error}; write it again with the command that made it") from None


def first_fault(error: ValidationError) -> str:
    """The first fault of a failed validation on one line: field, reason, value; and how many more there are."""
    faults = error.errors(include_url=False)
    fault = faults[0]
    field = _cut(".".join(str(part) for part in fault["loc"])) or "the document"
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    reason = _cut(fault["msg"].removeprefix("Value error, "))  # pydantic may repeat the input there
    return " ".join(f"{field}: {reason}, got {shown(fault['input'], 60)}{more}".split())


def _cut(text: str, limit: int = 200) -> str:
    return text if len(text) <= limit else f"{text[:limit]}..."


def _read_bounded(path: Path, limit: int) -> str:
    try:
        if path.is_symlink():
            raise InputError(f"{path}: is a link; give a plain file")
        if path.exists() and not path.is_file():  # a folder; or a pipe, on which open() would wait for ever
            raise InputError(f"{path}: is no plain file; give the .json file itself")
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}; give a file that is there and open to you") from error
    if len(content) > limit:
        raise InputError(f"{path}: larger than {limit} bytes, the limit for this kind of file; give another file")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not UTF-8 text; write it again with the command that made it") from None


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number of JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]} is too large for a number")
    return value


def _no_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key[:60]!r} stands twice")
        found[key] = value
    return found
