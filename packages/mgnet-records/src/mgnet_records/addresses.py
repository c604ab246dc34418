"""Addresses as they may be shown: a password in one is repeated in no line and no file."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterator
from urllib.parse import parse_qsl, quote, quote_plus, unquote

_HIDDEN = "..."
_SECRET_NAME = re.compile(r"pass|pwd|secret|token|credential|private|api_?key|access_?key|odbc_connect", re.IGNORECASE)
# Variables of the environment hold anything; a short value, such as 1 of HF_HUB_DISABLE_IMPLICIT_TOKEN, is no secret.
_SHORTEST_IN_ENVIRONMENT = 6
_SHORTEST_PIECE = 4


def shown(uri: str) -> str:
    """An address without what may be secret: all before the last @, and all behind the first of ? ; #."""
    scheme, separator, rest = uri.partition("://")
    if not separator:
        scheme, rest = "", uri
    if "@" in rest:
        rest = f"{_HIDDEN}@{rest.rpartition('@')[2]}"
    place = re.split("[?;#]", rest, maxsplit=1)[0]
    return f"{scheme}{separator}{place}{'' if place == rest else '?' + _HIDDEN}"


def without_secrets(text: str, uri: str) -> str:
    """A text of MLflow, of a database or of a server, without the secrets of the address and of the environment."""
    if shown(uri) != uri:
        text = text.replace(uri, shown(uri))
    text = re.sub(r"(?<=://)[^\s'\"<>]*@", f"{_HIDDEN}@", text)
    for secret in sorted(set(_secrets(uri)), key=len, reverse=True):
        # A short one is replaced as a word of its own, so that a password "a" does not garble every line.
        is_long = len(secret) >= _SHORTEST_IN_ENVIRONMENT
        text = text.replace(secret, _HIDDEN) if is_long else re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", _HIDDEN, text)
    return text


def _secrets(uri: str) -> Iterator[str]:
    rest = uri.partition("://")[2] or uri
    if "@" in rest:
        # user:password, or a token alone; what has no :// may have a scheme before it, and a password may hold colons.
        parts = rest.rpartition("@")[0].split(":")
        for first in range(max(1, len(parts) - 1)):
            yield from _basic(unquote(":".join(parts[first:])))
        for first in range(min(1, len(parts) - 1), len(parts)):
            yield from _spellings(":".join(parts[first:]))
    for name, value in parse_qsl(uri.partition("?")[2], keep_blank_values=False):
        if _SECRET_NAME.search(name):
            yield from _spellings(value)
    for part in re.findall(r"(?:pwd|password)=([^;&\s]+)", unquote(uri), re.IGNORECASE):
        yield from _spellings(part)
    for name, value in os.environ.items():
        if _SECRET_NAME.search(name) and (len(value) >= _SHORTEST_IN_ENVIRONMENT or name.startswith("MLFLOW_TRACKING_")):
            yield from _spellings(value, pieces=False)
    yield from _basic(f"{os.environ.get('MLFLOW_TRACKING_USERNAME', '')}:{os.environ.get('MLFLOW_TRACKING_PASSWORD', '')}")


def _spellings(secret: str, *, pieces: bool = True) -> Iterator[str]:
    """A secret as it may come back: quoted, not quoted, and in the pieces into which a parser breaks a badly quoted address."""
    plain = unquote(secret)
    yield from filter(None, (secret, plain, quote(plain, safe=""), quote(plain), quote_plus(plain)))
    if pieces:
        yield from (piece for piece in re.split(r"\W+", plain) if len(piece) >= _SHORTEST_PIECE)


def _basic(login: str) -> Iterator[str]:
    """What HTTP makes of user:password."""
    if len(login) > 1:
        yield base64.b64encode(login.encode()).decode()
