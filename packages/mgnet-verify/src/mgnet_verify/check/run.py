"""Trying one property on one network: the largest integers that decide it, and the smallest image on which it fails."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn

from mgnet_verify.certificate.document import Finding, Status
from mgnet_verify.check.example import Evidence, Example
from mgnet_verify.check.integer_weights import AMPLITUDES
from mgnet_verify.check.shrink import shrunk
from mgnet_verify.errors import NotDecided, Violation
from mgnet_verify.properties import Property

EXAMPLES = 2


@dataclass(frozen=True, kw_only=True)
class Room:
    """What images a network takes: channels, and pixels a side below which a grid would not be coarser than the one before."""

    channels: int
    smallest: int

    @classmethod
    def of(cls, grids: int, stem: nn.Conv2d, *, imagenet: bool) -> Room:
        """A stride of 2 between grids, and two more in the ImageNet stem."""
        return cls(channels=stem.in_channels, smallest=2 ** (grids - 1 + (2 if imagenet else 0)))

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Two images of the smallest uneven size on which no grid is a single pixel."""
        return (2, self.channels, self.smallest + 1, self.smallest + 3)


def not_applicable(checked: Property) -> Finding:
    """The finding for a property that asks for what the network does not have."""
    return _finding(checked, "not_applicable", detail="the network does not have what this looks at")


def try_property(model: nn.Module, room: Room, checked: Property, *, examples: int = EXAMPLES, seed: int = 0) -> Finding:
    """Run one property on `examples` examples, each with the largest integers for which it can be decided."""
    evidence = []
    for number in range(examples):
        try:
            evidence.append(_decide(model, room, checked, seed + number))
        except Violation as outcome:
            detail = _smallest_failure(model, room, checked, seed + number, outcome)
            return _finding(checked, "fail", detail=detail, examples=number + 1, seed=seed + number)
        except NotDecided as outcome:
            return _finding(checked, "fail", detail=f"not decided: {outcome}", examples=number + 1, seed=seed + number)
    gap, bits = _largest(e.largest_gap for e in evidence), _largest(e.bits_used for e in evidence)
    return _finding(checked, "pass", examples=examples, seed=seed, largest_gap=gap, bits_used=bits)


def _finding(checked: Property, status: Status, **told: Any) -> Finding:
    return Finding(name=checked.name, status=status, statement=checked.statement, **told)


def _decide(model: nn.Module, room: Room, checked: Property, seed: int) -> Evidence:
    undecided = NotDecided("no amplitude to try")
    for nonzeros in (3, 2, 1):
        for amplitude in AMPLITUDES:
            try:
                return checked.check(model, Example(seed=seed, shape=room.shape, amplitude=amplitude, nonzeros=nonzeros))
            except NotDecided as error:
                undecided = error
    raise undecided


def _smallest_failure(model: nn.Module, room: Room, checked: Property, seed: int, outcome: Violation) -> str:
    """The failure, on a shrunk image where one fails."""
    example = Example(seed=seed, shape=room.shape)
    small = shrunk(model, checked, example, smallest=room.smallest)
    return str(outcome) if small is None else f"{small[1]}; {small[0]}"


def _largest(values: Iterator[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)
