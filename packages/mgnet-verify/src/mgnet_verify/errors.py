"""Outcomes of a check other than success. Errors of users are `mgnet_records.errors.InputError`."""

from __future__ import annotations


class Violation(AssertionError):  # noqa: N818, an outcome
    """A property does not hold. `grid` and `iteration` (from 1) say where it failed first; None where it has no place.

    `execution` is the name of the one on which it failed, where only one did.
    """

    execution: str | None = None

    def __init__(self, statement: str, *, grid: int | None = None, iteration: int | None = None) -> None:
        self.grid, self.iteration = grid, iteration
        place = ", ".join(f"{name} {value}" for name, value in (("grid", grid), ("iteration", iteration)) if value is not None)
        super().__init__(f"{statement} ({place})" if place else statement)


class NotDecided(Exception):  # noqa: N818, an outcome
    """The drawn example cannot decide the property, as when its sums leave exact arithmetic; with `retry` another one may."""

    def __init__(self, reason: str, *, retry: bool = True) -> None:
        self.retry = retry
        super().__init__(reason)
