"""Damaged JSON: values changed in a sound document, then bytes changed in its text."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from hypothesis import strategies as st

Path = tuple[str | int, ...]

# Values at which programs break: bounds of number formats, texts that hide or break lines, empty and deep containers.
NUMBERS: tuple[Any, ...] = (
    *(0, -0.0, -1, 1, 0.5, 2**31, 2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64, 10**15, 10**15 + 1, 10**30, 10**400),
    *(1e308, 1.7e308, -1e308, 5e-324, 1e-300, 1e9, 1e9 + 1, float("nan"), float("inf"), float("-inf")),
)
TEXTS: tuple[str, ...] = (
    *("", " ", "a\nb", "a\tb", "\x00", "\x1b[31m", "\x85", "\u2028", "\u202eabc", "a\u200bb", "\ufeff", "\ud800", "\U000e0041"),
    *("../../etc/passwd", "/", ".", "..", "a/b", "-rf", "=1+1", "<script>alert(1)</script>", "{{7*7}}", "%s", "'; --", "$(id)"),
    *("a" * 97, "a" * 5000, "e\u0301", "\u00e9", "\u0430", "\U0001f600", "\uff10", "0" * 64, "0" * 12, "f" * 64, "nan", "null"),
    *("0001-01-01T00:00:00Z", "2999-12-31T23:59:59Z", "2026-02-30T00:00:00Z", "2026-06-30T23:59:60Z", "javascript:alert(1)"),
)
CONTAINERS: tuple[Any, ...] = ([], {}, [[]], {"": None}, [0] * 2000, {"a": {"b": {"c": []}}}, None, True, False)
# Copies: a drawn container may be changed again.
ODD_VALUES = st.one_of(st.sampled_from(NUMBERS), st.sampled_from(TEXTS), st.sampled_from(CONTAINERS)).map(copy.deepcopy)


def places(value: Any, above: Path = ()) -> Iterator[Path]:
    """The path of every value inside a JSON value, the outermost first."""
    yield above
    items: Sequence[tuple[str | int, Any]] = ()
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    for key, inner in items:
        yield from places(inner, (*above, key))


def at(value: Any, place: Path) -> Any:
    """The value at a path."""
    for key in place:
        value = value[key]
    return value


@st.composite
def mutated(draw: st.DrawFn, documents: Sequence[Any], mend: Callable[[Any], Any] | None = None) -> Any:
    """One of the documents with up to four changes: values replaced, removed, repeated, exchanged, added.

    `mend` puts right what depends on the rest, such as a hash, as a careful forger would; it is left out at times.
    """
    document = copy.deepcopy(draw(st.sampled_from(list(documents))))
    for _ in range(draw(st.integers(0, 4))):
        document = _changed_once(draw, document)
    if mend is not None and draw(st.integers(0, 3)):
        try:
            document = mend(document)
        except Exception:  # the forger cannot mend what has no shape any more
            return document
    return document


def _changed_once(draw: st.DrawFn, document: Any) -> Any:
    inner = [place for place in places(document) if place]
    if not inner:
        return draw(ODD_VALUES)
    *above, key = draw(st.sampled_from(inner))
    parent = at(document, tuple(above))
    match draw(st.sampled_from(("replace", "replace", "replace", "near", "remove", "exchange", "add"))):
        case "replace":
            parent[key] = draw(ODD_VALUES)
        case "near":
            parent[key] = _near(draw, parent[key])
        case "remove":
            del parent[key]
        case "exchange":
            parent[key] = copy.deepcopy(at(document, draw(st.sampled_from(inner))))
        case "add" if isinstance(parent, dict):
            parent[draw(st.sampled_from((*TEXTS, "mlflow_run_id", "__class__")))] = draw(ODD_VALUES)
        case _:
            parent.insert(0, copy.deepcopy(parent[key])) if isinstance(parent, list) else parent.update({key: [parent[key]]})
    return document


def _near(draw: st.DrawFn, value: Any) -> Any:
    """A value of the same kind that is hardly another."""
    match value:
        case bool():
            return not value
        case int() | float():
            step = draw(st.sampled_from((-1, 1, 0.5, value, -2 * value)))
            # A whole number may be too large for a float.
            return value + step if isinstance(step, type(value)) or abs(value) < 2**1000 else value + 1
        case str():
            return value[: draw(st.integers(0, len(value)))] + draw(st.sampled_from(("", "0", "A", " ", *TEXTS)))
        case _:
            return draw(ODD_VALUES)


def text_of(value: Any) -> bytes:
    """JSON as a careless program writes it: NaN, lone surrogates and numbers of any length go through."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


@st.composite
def damaged(draw: st.DrawFn, values: st.SearchStrategy[Any]) -> bytes:
    """The text of a drawn value, at times with bytes cut, changed, repeated or put in."""
    value = draw(values)
    content = json.dumps(value).encode() if draw(st.booleans()) else text_of(value)
    for _ in range(draw(st.sampled_from((0, 0, 0, 1, 1, 2)))):
        place = draw(st.integers(0, len(content)))
        match draw(st.sampled_from(("cut", "change", "put", "repeat"))):
            case "cut":
                content = content[:place]
            case "change":
                content = content[:place] + bytes([draw(st.integers(0, 255))]) + content[place + 1 :]
            case "put":
                content = content[:place] + draw(st.sampled_from(PIECES)) + content[place:]
            case _:
                content = content[:place] + content[max(0, place - 40) : place] + content[place:]
    return content


PIECES = (
    *(b"\x00", b"\xff", b"\xed\xa0\x80", b"\xc0\x80", b"\xef\xbb\xbf", b"\n", b"\xe2\x80\xa8", b",", b"}", b"{}", b"//", b"'"),
    *(b"NaN", b"-Infinity", b"1e999", b"0x10", b"01", b"1" * 5000, b"[" * 3000, b'{"a":' * 2000, b'"a":1,"a":2,', b'"\\ud800"'),
    *(b" " * 70_000, b"\\u0000", b'"\\u202e"', b"True", b"None", b"-", b"1.", b".5", b"1E+400", b"-0"),
)
