"""Equality with `==` between what a program computed and what the specification says, and where it fails first."""

from __future__ import annotations

import numpy as np

from mgnet_verify.errors import Violation
from mgnet_verify.specification import Array


def require_equal(what: str, seen: Array, right: Array, *, grid: int | None = None, iteration: int | None = None) -> None:
    """Violation unless both arrays are equal element by element; a leading batch of one may stand for all."""
    if seen.shape != right.shape and not _stands_for(seen, right):
        raise Violation(f"{what} has shape {seen.shape}, the specification {right.shape}", grid=grid, iteration=iteration)
    if not np.array_equal(np.broadcast_to(seen, right.shape), right):
        place = np.unravel_index(np.argmax(np.broadcast_to(seen, right.shape) != right), right.shape)
        value = np.broadcast_to(seen, right.shape)[place]
        raise Violation(
            f"{what} is {value:.17g} at {tuple(map(int, place))}, the specification says {right[place]:.17g}",
            grid=grid,
            iteration=iteration,
        )


def _stands_for(seen: Array, right: Array) -> bool:
    """The zero u^{1,0} may come in the shape (1, c, 1, 1); nothing else may be broadcast."""
    return seen.ndim == right.ndim and seen.shape[1] == right.shape[1] and seen[:, :, :1, :1].size == seen.size and not seen.any()


def require_length(what: str, seen: int, right: int, *, grid: int | None = None) -> None:
    """Violation unless a module was called exactly `right` times."""
    if seen != right:
        raise Violation(f"{what} is evaluated {seen} times, the specification says {right}", grid=grid)


def summation_bound(terms: int, magnitudes: Array, *, unit: float = 2.0**-53) -> Array:
    """How far sums of `terms` products may lie from each other in two orders of summation, with unit roundoff `unit`.

    Each lies within g |a||b| of the exact value, g = n u / (1 - n u), with n roundings on any path (one for
    each product and each addition); so the two differ by at most 2 g |a||b|, `magnitudes` being the sums |a||b|.
    """
    n_u = (terms + 1) * unit
    return 2 * n_u / (1 - n_u) * magnitudes


def require_within(
    what: str, seen: Array, right: Array, bound: Array, *, grid: int | None = None, iteration: int | None = None
) -> float:
    """Violation unless |seen - right| <= bound; returns the largest gap over its bound, 0 where nothing differs."""
    if seen.shape != right.shape:
        raise Violation(f"{what} has shape {seen.shape}, the specification {right.shape}", grid=grid, iteration=iteration)
    gap = np.abs(seen - right)
    if not (gap <= bound).all():
        place = np.unravel_index(np.argmax(np.where(gap <= bound, 0, gap)), gap.shape)
        raise Violation(
            f"{what} is {seen[place]:.17g} at {tuple(map(int, place))}, the specification says {right[place]:.17g}, "
            f"further apart than the bound {np.broadcast_to(bound, gap.shape)[place]:.3g}",
            grid=grid,
            iteration=iteration,
        )
    ratios = np.divide(gap, bound, out=np.zeros(gap.shape), where=gap > 0)
    return float(ratios.max()) if ratios.size else 0.0
