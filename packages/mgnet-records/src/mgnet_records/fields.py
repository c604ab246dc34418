"""What every document is made of: a strict frozen base, and types for names, texts, digests, times and bounded numbers."""

from __future__ import annotations

import re
import unicodedata
from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints


class Part(BaseModel):
    """A value inside a document: unknown fields, wrong types, NaN and infinities are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, protected_namespaces=())


def _real_instant(text: str) -> str:
    datetime.fromisoformat(text)
    return text


def _no_placeholder(text: str) -> str:
    if not text.strip("0"):
        raise ValueError("a digest of zeros is of no file")
    return text


def _no_hidden_characters(text: str) -> str:
    # Format characters (Cf) turn the direction of a text or hide parts of it; the patterns below name the usual ones for
    # readers of the JSON Schema, and this finds all.
    for c in text:
        if unicodedata.category(c) in ("Cf", "Co", "Cs"):
            raise ValueError(f"has the invisible character U+{ord(c):04X}")
    return text


# Control characters apart from tab and newline, then invisible and direction-turning ones. `re`, ECMAScript and pydantic
# all read this spelling.
_CONTROLS = r"\x00-\x08\x0b-\x1f\x7f-\x9f"
_INVISIBLE = r"\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"

_SLUG = r"^[a-z0-9][a-z0-9_]*(?:[.-][a-z0-9_]+)*$"
# A name that is also a file name and a part of a URL: no slash, no leading dot, no markup.
Slug = Annotated[str, StringConstraints(pattern=_SLUG, max_length=96)]
# The name of a Python argument.
ArgumentName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=64)]
# One line: no control characters, no angle brackets.
Line = Annotated[
    str,
    StringConstraints(pattern=rf"^[^{_CONTROLS}\t\n{_INVISIBLE}<>]*$", min_length=1, max_length=200),
    AfterValidator(_no_hidden_characters),
]
# Prose of our own tools; it may say "u < 0" and is escaped where it is shown.
Prose = Annotated[
    str, StringConstraints(pattern=rf"^[^{_CONTROLS}{_INVISIBLE}]*$", max_length=4000), AfterValidator(_no_hidden_characters)
]
# The 12 hexadecimal digits of `canonical.content_id`.
ContentId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{12}$")]
# A run's own id, as uuid4().hex.
RunId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$"), AfterValidator(_no_placeholder)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$"), AfterValidator(_no_placeholder)]
Commit = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$"), AfterValidator(_no_placeholder)]
# A time in UTC. The paper's first version is of 2019.
Instant = Annotated[
    str,
    StringConstraints(pattern=r"^20(?:19|[2-9]\d)-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|\+00:00)$"),
    AfterValidator(_real_instant),
]
HttpsLink = Annotated[str, StringConstraints(pattern=r"^https://[a-z0-9.-]+(?:/[\w.~%/?#=&+-]*)?$", max_length=300)]

# Whole numbers that a program can format, sum and draw; no network or data set comes near the limit.
LARGEST = 10**15
Count = Annotated[int, Field(ge=0, le=LARGEST)]
Positive = Annotated[int, Field(ge=1, le=LARGEST)]
# What torch.manual_seed and numpy both take.
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Epochs = Annotated[int, Field(ge=1, le=100_000)]
# Seconds; at most 30 years.
Seconds = Annotated[float, Field(ge=0, le=1e9)]
# Per second.
Rate = Annotated[float, Field(ge=0, le=1e9)]

# Any value of a recipe or of a model's argument: numbers that a program can use, texts that hide nothing, no deep nesting.
_Scalar = (
    bool
    | Annotated[int, Field(ge=-LARGEST, le=LARGEST)]
    | Annotated[float, Field(ge=-LARGEST, le=LARGEST)]
    | Annotated[
        str,
        StringConstraints(pattern=rf"^[^{_CONTROLS}\t\n{_INVISIBLE}<>]*$", max_length=200),
        AfterValidator(_no_hidden_characters),
    ]
    | None
)
_Flat = _Scalar | Annotated[list[_Scalar], Field(max_length=1000)]
Argument = _Flat | Annotated[list[_Flat], Field(max_length=1000)] | Annotated[dict[ArgumentName, _Flat], Field(max_length=100)]


def is_slug(text: str) -> bool:
    """Whether a text may be a file name and a part of a URL."""
    return len(text) <= 96 and re.fullmatch(_SLUG, text) is not None and not text.endswith("\n")
