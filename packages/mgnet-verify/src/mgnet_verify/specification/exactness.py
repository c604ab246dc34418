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
from typing import Any

import numpy as np
from numpy.typing import NDArray

LIMIT_BITS = 53


class ExactnessError(ArithmeticError):
    """Some sum could reach 2^53, so equality with `==` would prove nothing."""


class Guard:
    """The largest bound seen while the guard was active; 2^`limit_bits` must not be reached, 53 for float64, 24 for float32.

    Results that are stored may have a limit of their own, `stored_bits`: 8 for bfloat16, whose sums are added in float32. With
    `rounded` values, no integers, nothing may lie within 2^-30 of a kink of ReLU or of a maximum instead.
    """

    def __init__(self, limit_bits: int, *, stored_bits: int, rounded: bool) -> None:
        self.largest = 0.0
        self.stored_bits = stored_bits
        self.limit_bits = limit_bits
        self.rounded = rounded

    @property
    def bits(self) -> float:
        """The largest bound as a number of bits: log2, 0 when nothing was computed."""
        return math.log2(self.largest) if self.largest > 1 else 0.0


_active: ContextVar[Guard | None] = ContextVar("_active", default=None)


@contextmanager
def guarded(limit_bits: int = LIMIT_BITS, *, stored_bits: int = LIMIT_BITS, rounded: bool = False) -> Iterator[Guard]:
    """Raise ExactnessError for every operation inside that could leave the exact numbers of the `Guard`."""
    guard = Guard(limit_bits, stored_bits=stored_bits, rounded=rounded)
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
    if guard is None or guard.rounded:
        return
    guard.largest = max(guard.largest, bound)
    if not bound < 2.0**guard.limit_bits:
        dtype = "float64" if guard.limit_bits == LIMIT_BITS else "float32"
        raise ExactnessError(
            f"a sum can reach 2^{math.log2(bound):.1f}, past the 2^{guard.limit_bits} up to which {dtype} is exact"
        )


def stored(x: NDArray[Any]) -> NDArray[Any]:
    """The result of an operation, of which every entry fits into what it is stored in."""
    guard = _active.get()
    if guard is not None and guard.stored_bits < LIMIT_BITS and x.size and float(np.abs(x).max()) > 2.0**guard.stored_bits:
        raise ExactnessError(f"a result exceeds 2^{guard.stored_bits}, up to which what it is stored in is exact")
    return x


def claim_apart(distances: NDArray[Any]) -> None:
    """State that values decide by the sign of these distances, which is 0 or clear where they are rounded."""
    guard = _active.get()
    if guard is not None and guard.rounded and ((distances != 0) & (np.abs(distances) < 2.0**-30)).any():
        raise ExactnessError("a value lies too near a kink to be decided alike by every correct program")
