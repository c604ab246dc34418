"""What every record has: frozen fields, no unknown field, strict types, and texts that cannot carry markup or paths."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints


class Part(BaseModel):
    """A value inside a record: unknown fields, wrong types, NaN and infinities are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def _real_instant(text: str) -> str:
    datetime.fromisoformat(text)
    return text


# A name that is also a file name and a URL: no slash, no leading dot, no markup.
Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_]*(?:[.-][a-z0-9_]+)*$", max_length=96)]
RecordId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{12}$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Commit = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")]
MlflowRunId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
# A line of text: no control characters, no angle brackets.
Line = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f<>]*$", min_length=1, max_length=200)]
# Prose of our own tools; it may say "u < 0" and is escaped where it is shown.
Prose = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x08\x0b-\x1f\x7f]*$", max_length=4000)]
# A time in UTC.
Instant = Annotated[
    str,
    StringConstraints(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|\+00:00)$"),
    AfterValidator(_real_instant),
]
HttpsLink = Annotated[str, StringConstraints(pattern=r"^https://[a-z0-9.-]+(?:/[\w.~%/?#=&+-]*)?$", max_length=300)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]


def content_id(identity: Any) -> str:
    """The 12 hexadecimal digits that name what has this identity (any JSON value)."""
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
