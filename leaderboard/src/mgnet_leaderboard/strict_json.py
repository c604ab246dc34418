"""JSON read without forgiveness: bounded size, no links, no NaN, no key twice, no unknown field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from mgnet_leaderboard.refusal import RefusedError, first_fault

Value = TypeVar("Value")

# A measured record of 30 seeds has about 12 kB; whatever is far larger is not a record.
RECORD_LIMIT = 64 * 1024
# The paper's 173 printed rows in one file.
CLAIMS_LIMIT = 512 * 1024


def read_record(path: Path, adapter: TypeAdapter[Value], *, limit: int = RECORD_LIMIT) -> Value:
    """The value in the file; RefusedError if it is a link, above `limit` bytes, not strict JSON, or not of this shape."""
    text = _read_bounded(path, limit)
    try:
        json.loads(text, parse_constant=_no_constant, object_pairs_hook=_no_repetition)
        return adapter.validate_json(text)
    except ValidationError as error:
        raise RefusedError(f"{path}: {first_fault(error)}") from None
    except (ValueError, RecursionError) as error:
        raise RefusedError(f"{path}: not strict JSON: {error}; write it again with mgnet-leaderboard") from None


def _read_bounded(path: Path, limit: int) -> str:
    if path.is_symlink():
        raise RefusedError(f"{path}: is a link; a record is a plain file")
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)
        if len(content) > limit:
            raise RefusedError(f"{path}: larger than {limit} bytes, the limit for this kind of file")
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise RefusedError(f"{path}: is not UTF-8 text") from None
    except OSError as error:
        raise RefusedError(f"{path}: cannot be read: {error.strerror}") from None


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number of JSON")


def _no_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    for key in keys:
        if keys.count(key) > 1:
            raise ValueError(f"the key {key!r} stands twice")
    return dict(pairs)


def short(value: Any) -> str:
    """A JSON value on one line, for a reader."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False)


def canonical(value: Any) -> str:
    """The one text of a JSON value: keys sorted, two spaces, a newline at the end; NaN refused."""
    return json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
