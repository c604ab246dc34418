"""Fuzz targets of the paper's notation and of the names that stand for it."""

from __future__ import annotations

from hypothesis import strategies as st

from fuzz.framework import accepted, target
from mgnet_models.notation import Notation

SAMPLES = (
    "MgNet[2,2,2,2]-[256]-B^l",
    "MgNet[4,2]-[(64,32),(128,64)]-B^{l,i}",
    "$\\mathrm{MgNet}[2, 2]-[(3,4)]-B^{\\ell,i}$",
    "mgnet [1]-32-b^l",
)
NAMES = ("mgnet_2_2_2_2_c256_bl", "mgnet_4_2_c64x32_128x64_bli", "mgnet_3_4_6_3_c128_256_512_1024_bli_224")
PIECES = (
    *(
        "[",
        "]",
        "(",
        ")",
        "{",
        "}",
        ",",
        "-",
        "^",
        "_",
        "x",
        "l,i",
        "B^l",
        "bli",
        "_224",
        "\\ell",
        "\u2113",
        "$",
        " ",
        "\n",
        "\x00",
    ),
    *("0", "-1", "1", "007", "99999999", "1" * 400, "1" * 5000, "\u0663", "\u00b2", "\uff12", "1.5", "1e3", "[" * 500, ",2" * 500),
)


@st.composite
def changed(draw: st.DrawFn, samples: tuple[str, ...]) -> str:
    """A sample with pieces put in, cut out or repeated; at times any text."""
    text = draw(st.sampled_from(samples))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 6)))
        piece = draw(
            st.one_of(st.sampled_from(PIECES), st.integers(0, 300).map(str), st.text(max_size=3), st.just(text[start:end] * 2))
        )
        text = text[:start] + piece + text[end:]
    return text


@target(changed(SAMPLES), form="text", quick=40, nightly=20_000)
def notation(text: str) -> None:
    """A notation that is read says the same when it is written and read again, and so does its name."""
    read = accepted(lambda: Notation.parse(text), refusal=ValueError)
    assert Notation.parse(str(read)) == read
    assert Notation.from_timm_name(read.timm_name()) == (read, "cifar")


@target(changed(NAMES), form="text", quick=40, nightly=20_000)
def timm_name(text: str) -> None:
    """A name that is read is the name of what was read, but for zeros in front and channels that repeat."""
    read, stem = accepted(lambda: Notation.from_timm_name(text), refusal=ValueError)
    assert Notation.from_timm_name(read.timm_name(stem)) == (read, stem)
    assert Notation.parse(str(read)) == read
