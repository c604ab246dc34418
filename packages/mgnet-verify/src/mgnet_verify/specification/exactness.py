"""When float64 arithmetic is exact: the guard that every operation of the specification reports to.

An integer of absolute value below 2^53 is a float64, and a sum of integers whose absolute values add up to less than
2^53 has partial sums below 2^53 in every order of summation, with or without fused multiply-adds. So an operation whose
*bound* (the sum of absolute values of everything it adds) stays below 2^53 returns the mathematical result, whatever
kernel computes it, and two correct programs agree with `==`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

LIMIT_BITS = 53


class ExactnessError(ArithmeticError):
    """Some sum could reach 2^53, so equality with `==` would prove nothing."""


class Guard:
    """The largest bound seen while the guard was active."""

    def __init__(self) -> None:
        self.largest = 0.0

    @property
    def bits(self) -> float:
        """The largest bound as a number of bits: log2, 0 when nothing was computed."""
        return math.log2(self.largest) if self.largest > 1 else 0.0


_active: ContextVar[Guard | None] = ContextVar("_active", default=None)


@contextmanager
def guarded() -> Iterator[Guard]:
    """Raise ExactnessError for every operation inside whose bound reaches 2^53."""
    guard = Guard()
    token = _active.set(guard)
    try:
        yield guard
    finally:
        _active.reset(token)


def is_guarded() -> bool:
    """Whether bounds are asked for; computing them costs a pass over the operands."""
    return _active.get() is not None


def claim(bound: float) -> None:
    """State that the next operation adds numbers whose absolute values sum to at most `bound`, all of them integers."""
    guard = _active.get()
    if guard is None:
        return
    guard.largest = max(guard.largest, bound)
    if bound >= 2.0**LIMIT_BITS:
        raise ExactnessError(f"a sum can reach 2^{math.log2(bound):.1f}, past the 2^53 up to which float64 is exact")
