"""The run of one property on one network: the largest integers that decide it, and the smallest image on which it fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from mgnet_records.certificate import Property as PropertyResult
from mgnet_records.certificate import Status
from mgnet_verify.check.example import Check, Example, ExampleResult
from mgnet_verify.check.executions import Execution, executions_of
from mgnet_verify.check.integer_weights import AMPLITUDES
from mgnet_verify.check.shrink import shrunk
from mgnet_verify.errors import NotDecided, Violation
from mgnet_verify.network.protocol import InputLimits

EXAMPLES = 2
# Images in the example of the network's own size.
OWN_BATCH = 5
# The parts of the channels that are active; fewer where numbers grow too large, as in deep networks.
_ACTIVE = (1.0, 1 / 4, 1 / 16, 1 / 64)
_LONGEST_DETAIL = 4000  # characters, as mgnet_records bounds them


def _to_all(_: nn.Module) -> bool:
    return True


@dataclass(frozen=True, kw_only=True)
class Property:
    """A check, and the networks that it applies to. With `own_size` one of its examples has the image size of the network."""

    check: Check
    applies_to: Callable[[nn.Module], bool] = _to_all
    own_size: bool = False

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
    model: nn.Module,
    limits: InputLimits,
    checked: Property,
    *,
    examples: int = EXAMPLES,
    seed: int = 0,
    own_size: tuple[int, int] | None = None,
    executions: tuple[Execution, ...] | None = None,
    shrink: bool = True,
) -> PropertyResult:
    """Check one property on `examples` examples, each with the largest integers for which it can be decided.

    The last example is of `own_size` (height, width) and `OWN_BATCH` images where the property asks for that. A network that
    raises fails; what no example decides is not decided. `executions` are all that the network has, unless given. With `shrink`
    a failure is shown on the smallest image that is found in 20 seconds.
    """
    passed = []
    for number in range(examples):
        shape = limits.shape
        if checked.own_size and own_size is not None and number == examples - 1:
            shape = (OWN_BATCH, limits.channels, *own_size)
        example = Example(seed=seed + number, shape=shape, executions=executions, slow=number == 0)
        place = {"examples": number + 1, "seed": seed + number}
        try:
            passed.append(decide(model, checked, example))
        except Violation as outcome:
            detail = _smallest_failure(model, limits, checked, example, outcome) if shrink else str(outcome)
            return _result(checked, "fail", detail=printable(detail), **place)
        except NotDecided as outcome:
            return _result(checked, "not_decided", detail=printable(str(outcome)), **place)
        except Exception as error:  # whatever a wrong network raises
            return _result(checked, "fail", detail=printable(f"raises {type(error).__name__}: {error}"), **place)
    gap, bits = _largest(one.largest_gap for one in passed), _largest(one.bits_used for one in passed)
    return _result(checked, "pass", examples=examples, seed=seed, largest_gap=gap, bits_used=bits)


def _result(checked: Property, status: Status, **fields: Any) -> PropertyResult:
    return PropertyResult(name=checked.name, status=status, statement=checked.statement, **fields)


def printable(detail: str) -> str:
    """One line without what a record may not hold, as a message of a foreign network may have it."""
    plain = "".join(c if c.isprintable() else " " for c in detail)
    return " ".join(plain.split())[:_LONGEST_DETAIL]


def decide(model: nn.Module, checked: Property, example: Example) -> ExampleResult:
    """The result with the largest integers for which the property can be decided. Raises Violation or NotDecided."""
    undecided = NotDecided("no amplitude to try")
    for active in _ACTIVE:
        for nonzeros in (3, 2, 1):
            for amplitude in AMPLITUDES:
                try:
                    return checked.check(model, replace(example, amplitude=amplitude, nonzeros=nonzeros, active=active))
                except NotDecided as error:
                    undecided = error
                    if not error.retry:
                        raise
    raise undecided


def _smallest_failure(model: nn.Module, limits: InputLimits, checked: Property, example: Example, outcome: Violation) -> str:
    """The failure, on a shrunk image if one fails; on the execution that failed alone."""
    if outcome.execution is not None:
        known = executions_of(model) if example.executions is None else example.executions
        example = replace(example, executions=tuple(one for one in known if one.name == outcome.execution))
    small = shrunk(model, checked.check, example, smallest=limits.smallest)
    return str(outcome) if small is None else f"{small[1]}; {small[0]}"


def _largest(values: Iterator[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)
