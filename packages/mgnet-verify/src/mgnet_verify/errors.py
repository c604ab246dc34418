"""What can go wrong, in two words: a user's mistake, and a property that does not hold."""

from __future__ import annotations


class UserError(ValueError):
    """The request cannot be served; the message names the value and the mend in one line."""


class Violation(AssertionError):  # noqa: N818, an outcome
    """A property does not hold. `grid` and `step` (from 1) say where it failed first; None where it has no place."""

    def __init__(self, statement: str, *, grid: int | None = None, step: int | None = None) -> None:
        self.grid, self.step = grid, step
        place = ", ".join(f"{name} {value}" for name, value in (("grid", grid), ("step", step)) if value is not None)
        super().__init__(f"{statement} ({place})" if place else statement)


class NotDecided(Exception):  # noqa: N818, an outcome
    """The drawn example cannot decide the property, as when its sums leave exact arithmetic; draw another."""
