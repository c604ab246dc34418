"""Trying one property on one network: the largest integers that decide it, and the smallest image on which it fails."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from mgnet_verify.certificate import Finding, Status
from mgnet_verify.errors import NotDecided, Violation
from mgnet_verify.exact import AMPLITUDES
from mgnet_verify.example import Evidence, Example
from mgnet_verify.parts import Parts
from mgnet_verify.properties import Property
from mgnet_verify.shrinking import shrunk

EXAMPLES = 2


def try_property(model: nn.Module, parts: Parts, checked: Property, *, examples: int = EXAMPLES, seed: int = 0) -> Finding:
    """Run one property on `examples` examples, each with the largest integers for which it can be decided."""
    if not checked.applies_to(model, parts):
        return _finding(checked, "not_applicable", detail="the network does not have what this looks at")
    evidence = []
    for number in range(examples):
        try:
            evidence.append(_decide(model, parts, checked, seed + number))
        except Violation as outcome:
            detail = _smallest_failure(model, parts, checked, seed + number, outcome)
            return _finding(checked, "fail", detail=detail, examples=number + 1, seed=seed + number)
        except NotDecided as outcome:
            return _finding(checked, "fail", detail=f"not decided: {outcome}", examples=number + 1, seed=seed + number)
    gap, bits = _largest(e.largest_gap for e in evidence), _largest(e.bits_used for e in evidence)
    return _finding(checked, "pass", examples=examples, seed=seed, largest_gap=gap, bits_used=bits)


def smallest_image(parts: Parts) -> int:
    """Pixels a side below which some grid would not be coarser than the one before it."""
    return int(2 ** (len(parts.grids) - 1 + (2 if parts.imagenet else 0)))


def example_shape(parts: Parts) -> tuple[int, int, int, int]:
    """Two images of the smallest uneven size on which no grid is a single pixel."""
    smallest = smallest_image(parts)
    return (2, parts.theta.in_channels, smallest + 1, smallest + 3)


def _finding(checked: Property, status: Status, **told: Any) -> Finding:
    return Finding(name=checked.name, status=status, statement=checked.statement, **told)


def _decide(model: nn.Module, parts: Parts, checked: Property, seed: int) -> Evidence:
    shape = example_shape(parts)
    undecided = NotDecided("no amplitude to try")
    for nonzeros in (3, 2, 1):
        for amplitude in AMPLITUDES:
            try:
                return checked.check(model, Example(seed=seed, shape=shape, amplitude=amplitude, nonzeros=nonzeros))
            except NotDecided as error:
                undecided = error
    raise undecided


def _smallest_failure(model: nn.Module, parts: Parts, checked: Property, seed: int, outcome: Violation) -> str:
    """The failure, on a shrunk image where one fails."""
    example = Example(seed=seed, shape=example_shape(parts))
    small = shrunk(model, checked, example, smallest=smallest_image(parts))
    return str(outcome) if small is None else f"{small[1]}; {small[0]}"


def _largest(values: Iterator[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)
