"""The paper's notation for a MgNet, (3.8), as a value.

`MgNet[nu_1,...,nu_J]-[(c_u1,c_f1),...,(c_uJ,c_fJ)]-B^{l,i}`: the smoothing iterations on each grid, the channels of the
feature u and of the data f on each grid, and whether the smoother B is one per iteration (`B^{l,i}`) or one per grid
(`B^l`, (3.9)).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from operator import index
from typing import Literal, SupportsIndex, cast

from mgnet_records.errors import shown

StemKind = Literal["cifar", "imagenet"]

# Larger networks are rejected at once; they would be built for minutes, or end in an allocation that fails.
MAX_GRIDS = 32
MAX_ITERATIONS = 4096  # of all grids together
MAX_CHANNELS = 65_536
MAX_WEIGHTS = 2**29  # of all convolutions together: 2 GiB in float32

_EXAMPLE = "MgNet[2,2,2,2]-[256]-B^l"
# Characters. The longest that a person writes has 100.
_LONGEST = 1_000
_TEXT = re.compile(
    r"mgnet \[(?P<nu>[^\[\]]*)\] - \[? (?P<channels>[^\[\]]*?) \]? - b\^(?P<index>l,i|l)".replace(" ", r"\s*"), re.I | re.A
)
_CHANNEL = re.compile(r"\(\s*(\d+)\s*,\s*(\d+)\s*\)|(\d+)", re.A)
_NAME = re.compile(
    r"mgnet_(?P<nu>\d+(?:_\d+)*)_c(?P<channels>\d+(?:x\d+)?(?:_\d+(?:x\d+)?)*)_(?P<sharing>bli|bl)(?P<stem>_224)?", re.A
)


@dataclass(frozen=True, kw_only=True)
class Notation:
    """One MgNet configuration, (3.8). `nu`, `c_u` and `c_f` have one entry for each grid.

    Raises ValueError when a list has the wrong length, an entry is not a positive integer, or the network is larger than
    MAX_GRIDS, MAX_ITERATIONS, MAX_CHANNELS and MAX_WEIGHTS allow.
    """

    nu: tuple[int, ...]
    c_u: tuple[int, ...]
    c_f: tuple[int, ...]
    share_B: bool

    def __post_init__(self) -> None:
        for field in ("nu", "c_u", "c_f"):
            numbers = tuple(whole_number(field, entry) for entry in getattr(self, field))
            object.__setattr__(self, field, numbers)  # NumPy's integers become Python's
        if not isinstance(self.share_B, bool):
            raise ValueError(f"share_B={shown(self.share_B)}: use True for B^l or False for B^{{l,i}}")
        if not self.nu:
            raise ValueError(f"nu=() names no grid: give one number of iterations for each grid, as in {_EXAMPLE}")
        for grid, nu in enumerate(self.nu, start=1):
            if nu < 1:
                raise ValueError(f"nu={nu} on grid {grid}: each grid needs at least one smoothing iteration")
        for field, channels in (("c_u", self.c_u), ("c_f", self.c_f)):
            if len(channels) != len(self.nu):
                raise ValueError(
                    f"{field}={shown(list(channels))} has {len(channels)} entries for {len(self.nu)} grids: "
                    f"give one for all grids or exactly {len(self.nu)}"
                )
            for grid, c in enumerate(channels, start=1):
                if c < 1:
                    raise ValueError(f"{field}={c} on grid {grid}: each grid needs at least one channel")
        self._check_limits()

    def _check_limits(self) -> None:
        iterations, channels = sum(self.nu), max(*self.c_u, *self.c_f)
        if len(self.nu) > MAX_GRIDS:
            raise ValueError(f"{len(self.nu)} grids: use at most {MAX_GRIDS}")
        if iterations > MAX_ITERATIONS:
            raise ValueError(
                f"nu={shown(list(self.nu))} makes {shown(iterations)} iterations: use at most {MAX_ITERATIONS:,} on all grids"
            )
        if channels > MAX_CHANNELS:
            raise ValueError(f"{shown(channels)} channels: use at most {MAX_CHANNELS:,} on a grid")
        weights = sum(9 * u * f * (1 + (1 if self.share_B else nu)) for nu, u, f in zip(self.nu, self.c_u, self.c_f))
        weights += sum(9 * a * b for c in (self.c_u, self.c_f) for a, b in pairwise(c))
        if weights > MAX_WEIGHTS:
            raise ValueError(
                f"{shown(str(self))[1:-1]} has {weights:,} weights: use at most {MAX_WEIGHTS:,}, with fewer channels or with B^l"
            )

    @classmethod
    def of(cls, notation: str | Notation) -> Notation:
        """A notation as it is, a text as `parse` reads it."""
        return notation if isinstance(notation, cls) else cls.parse(str(notation))

    @classmethod
    def parse(cls, text: str) -> Notation:
        """Read the notation as the paper prints it, in ASCII or LaTeX; ValueError says what is malformed."""
        match = _TEXT.fullmatch(_plain(text)) if len(text) <= _LONGEST else None
        if match is None:
            raise ValueError(
                f"malformed notation {shown(text)}: write it as in {_EXAMPLE} or MgNet[4,2]-[(64,32),(128,64)]-B^{{l,i}}"
            )
        nu = _numbers(match["nu"], text)
        c_u, c_f = _channels(match["channels"], len(nu), text)
        return cls(nu=nu, c_u=c_u, c_f=c_f, share_B=match["index"].lower() == "l")

    @classmethod
    def from_timm_name(cls, name: str) -> tuple[Notation, StemKind]:
        """The configuration and the stem that a timm name of ours stands for; the inverse of `timm_name`."""
        match = _NAME.fullmatch(name) if len(name) <= _LONGEST else None
        if match is None:
            raise ValueError(
                f"{shown(name)} is no MgNet name: write it as in mgnet_2_2_2_2_c256_bl or mgnet_3_4_6_3_c128_256_512_1024_bli_224"
            )
        nu = tuple(int(n) for n in match["nu"].split("_"))
        entries = [entry.split("x") for entry in match["channels"].split("_")]
        c_u, c_f = _expand([(int(entry[0]), int(entry[-1])) for entry in entries], len(nu))
        return cls(nu=nu, c_u=c_u, c_f=c_f, share_B=match["sharing"] == "bl"), "imagenet" if match["stem"] else "cifar"

    def __str__(self) -> str:
        channels = ",".join(str(u) if self.has_equal_channels else f"({u},{f})" for u, f in self._shortest_channels())
        return f"MgNet[{','.join(map(str, self.nu))}]-[{channels}]-{'B^l' if self.share_B else 'B^{l,i}'}"

    def timm_name(self, stem: StemKind = "cifar") -> str:
        """The name under which timm knows this network, as `mgnet_2_2_2_2_c256_bl`."""
        channels = "_".join(str(u) if self.has_equal_channels else f"{u}x{f}" for u, f in self._shortest_channels())
        nu = "_".join(map(str, self.nu))
        return f"mgnet_{nu}_c{channels}_{'bl' if self.share_B else 'bli'}{'_224' if stem == 'imagenet' else ''}"

    @property
    def has_equal_channels(self) -> bool:
        """Whether c_u = c_f on every grid, the case that the paper's tables use."""
        return self.c_u == self.c_f

    def _shortest_channels(self) -> list[tuple[int, int]]:
        pairs = list(zip(self.c_u, self.c_f))
        return pairs[:1] if len(set(pairs)) == 1 else pairs


def check_image_size(notation: Notation, stem: StemKind, size: tuple[int, int]) -> None:
    """Refuse an image (height, width) on which some grid would not be coarser than the one before it.

    A transfer halves the size, rounding up; below two pixels it no longer coarsens. The ImageNet stem halves twice more.
    """
    halvings = len(notation.nu) - 1 + (2 if stem == "imagenet" else 0)
    smallest = 2**halvings
    if min(size) < smallest:
        raise ValueError(
            f"image of {size[0]}x{size[1]} pixels is too small for the {len(notation.nu)} grids of {notation}: "
            f"use at least {smallest}x{smallest} pixels or fewer grids"
        )


def whole_number(name: str, value: object) -> int:
    """An integer of Python or NumPy as an int. Raises ValueError, which names the argument, for anything else, True included."""
    try:
        if type(value).__name__ in ("bool", "bool_"):
            raise TypeError
        return index(cast(SupportsIndex, value))
    except TypeError:
        raise ValueError(f"{name}={shown(value)} is no whole number") from None


def _plain(text: str) -> str:
    """The LaTeX spelling (math mode, \\ell, \\mathrm, braces) and the paper's 'l' brought to one ASCII spelling."""
    for command, letter in (("\\ell", "l"), ("\u2113", "l"), ("\\mathrm", ""), ("\\text", ""), ("\\,", "")):
        text = text.replace(command, letter)
    text = re.sub(r"[${}\\]", "", text)
    return re.sub(r"\s+", "", text)


def _numbers(text: str, whole: str) -> tuple[int, ...]:
    entries = [entry.strip() for entry in text.split(",")]
    for entry in entries:
        if not re.fullmatch(r"-?\d+", entry, re.A):
            raise ValueError(f"malformed notation {shown(whole)}: {entry!r} is not a number of iterations")
    return tuple(int(entry) for entry in entries)


def _channels(text: str, grids: int, whole: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    rest = _CHANNEL.sub("#", text)
    if not re.fullmatch(r"#(,#)*", rest):
        raise ValueError(
            f"malformed notation {shown(whole)}: {shown(text)} is not a list of channels, as in [64,128] or [(64,32),(128,64)]"
        )
    pairs = [(int(m[1] or m[3]), int(m[2] or m[3])) for m in _CHANNEL.finditer(text)]
    if len(pairs) not in (1, grids):
        raise ValueError(
            f"malformed notation {shown(whole)}: channel list {shown(text)} has {len(pairs)} entries for {grids} grids: "
            f"give one for all grids or exactly {grids}"
        )
    return _expand(pairs, grids)


def _expand(pairs: list[tuple[int, int]], grids: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """One pair stands for all grids; any other list is taken as it is, and `Notation` checks its length."""
    full = pairs * grids if len(pairs) == 1 else pairs
    return tuple(u for u, _ in full), tuple(f for _, f in full)
