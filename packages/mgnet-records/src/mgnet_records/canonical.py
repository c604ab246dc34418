"""One text for a JSON value, so that equal values have equal hashes and equal files."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def canonical_json(value: Any) -> str:
    """The value with sorted keys and no spaces. Raises ValueError for NaN and infinities, TypeError for what JSON has not."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def sha256_of(value: Any) -> str:
    """SHA-256 (64 hexadecimal digits) of the canonical JSON. Raises as `canonical_json`."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def content_id(identity: Any) -> str:
    """The 12 hexadecimal digits that name what has this identity. Raises as `canonical_json`."""
    return sha256_of(identity)[:12]


def document_text(value: Any) -> str:
    """The value as a file for readers: sorted keys, two spaces, a newline at the end. Raises as `canonical_json`."""
    return json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
