"""The run of one property on one network: the largest integers that decide it, and the smallest image on which it fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn

from mgnet_records.certificate import Property as PropertyResult
from mgnet_records.certificate import Status
from mgnet_verify.check.example import Check, Example, ExampleResult
from mgnet_verify.check.integer_weights import AMPLITUDES
from mgnet_verify.check.shrink import shrunk
from mgnet_verify.errors import NotDecided, Violation
from mgnet_verify.network.protocol import InputLimits

EXAMPLES = 2
_LONGEST_DETAIL = 4000  # characters, as mgnet_records bounds them


def _to_all(_: nn.Module) -> bool:
    return True


@dataclass(frozen=True, kw_only=True)
class Property:
    """A check, and the networks that it applies to."""

    check: Check
    applies_to: Callable[[nn.Module], bool] = _to_all

    @property
    def name(self) -> str:
        """The function's name, as reports print it."""
        return self.check.__name__

    @property
    def statement(self) -> str:
        """The first line of the docstring: what holds."""
        return (self.check.__doc__ or self.name).splitlines()[0]

    def __str__(self) -> str:
        return self.name


def not_applicable(checked: Property) -> PropertyResult:
    """The result of a property that looks at something that the network does not have."""
    return _result(checked, "not_applicable", detail="the network does not have what this looks at")


def run_property(
    model: nn.Module, limits: InputLimits, checked: Property, *, examples: int = EXAMPLES, seed: int = 0
) -> PropertyResult:
    """Check one property on `examples` examples, each with the largest integers for which it can be decided."""
    passed = []
    for number in range(examples):
        try:
            passed.append(_decide(model, limits, checked, seed + number))
        except Violation as outcome:
            detail = _smallest_failure(model, limits, checked, seed + number, outcome)
            return _result(checked, "fail", detail=detail[:_LONGEST_DETAIL], examples=number + 1, seed=seed + number)
        except NotDecided as outcome:
            return _result(checked, "fail", detail=f"not decided: {outcome}", examples=number + 1, seed=seed + number)
    gap, bits = _largest(one.largest_gap for one in passed), _largest(one.bits_used for one in passed)
    return _result(checked, "pass", examples=examples, seed=seed, largest_gap=gap, bits_used=bits)


def _result(checked: Property, status: Status, **fields: Any) -> PropertyResult:
    return PropertyResult(name=checked.name, status=status, statement=checked.statement, **fields)


def _decide(model: nn.Module, limits: InputLimits, checked: Property, seed: int) -> ExampleResult:
    undecided = NotDecided("no amplitude to try")
    for nonzeros in (3, 2, 1):
        for amplitude in AMPLITUDES:
            try:
                return checked.check(model, Example(seed=seed, shape=limits.shape, amplitude=amplitude, nonzeros=nonzeros))
            except NotDecided as error:
                undecided = error
    raise undecided


def _smallest_failure(model: nn.Module, limits: InputLimits, checked: Property, seed: int, outcome: Violation) -> str:
    """The failure, on a shrunk image if one fails."""
    example = Example(seed=seed, shape=limits.shape)
    small = shrunk(model, checked.check, example, smallest=limits.smallest)
    return str(outcome) if small is None else f"{small[1]}; {small[0]}"


def _largest(values: Iterator[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)
