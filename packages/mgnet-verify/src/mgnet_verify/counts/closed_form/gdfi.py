"""Parameters and multiply-adds of the 16 schemes of Table 1 by arithmetic: MgNet's, with other sigmas and more runs of A."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import prod

from mgnet_models.nn.layers import MapForm
from mgnet_models.notation import Notation
from mgnet_verify.counts.closed_form import mgnet as closed_form
from mgnet_verify.counts.closed_form.mgnet import Entry, Shape


def table(notation: Notation, form_A: MapForm, form_B: MapForm, shape: Shape, *, size: tuple[int, int]) -> list[Entry]:
    """Every operator of every grid. A linear A runs in the residual form; another is evaluated on each u^{l,i} that is read."""
    entries = closed_form.table(notation, shape, size=size, form="residual")
    sizes = closed_form.grid_sizes(notation, shape.stem, size)
    return [entry for mgnet in entries for entry in _of_the_scheme(notation, form_A, form_B, mgnet, prod(sizes[mgnet.grid - 1]))]


def _of_the_scheme(notation: Notation, form_A: MapForm, form_B: MapForm, entry: Entry, pixels: int) -> Iterator[Entry]:
    if entry.grid == 0 or entry.operator not in ("A", "sigma"):
        yield entry
        return
    nu, c_u, c_f = (values[entry.grid - 1] for values in (notation.nu, notation.c_u, notation.c_f))
    before_B, after_B = form_B in ("pre", "both"), form_B in ("post", "both")
    if entry.operator == "sigma":
        yield replace(entry, runs=nu * (before_B + after_B), parameters=2 * nu * (before_B * c_f + after_B * c_u))
    elif form_A == "lin":
        yield entry
    else:
        runs, held = _evaluations(notation, entry.grid)
        before, after = form_A in ("pre", "both"), form_A in ("post", "both")
        yield replace(entry, runs=runs, macs=runs * entry.parameters * pixels)
        yield Entry(
            grid=entry.grid,
            operator="sigma of A",
            runs=runs * (before + after),
            macs=0,
            parameters=2 * held * (before * c_u + after * c_f),
        )


def _evaluations(notation: Notation, grid: int) -> tuple[int, int]:
    """Evaluations of a nonlinear A, and how many pairs of sigmas it holds for them.

    u^{l,0} to u^{l,nu}, on the last grid to u^{J,nu-1}. With one iteration there, the residual comes from the finer grid.
    """
    nu, J = notation.nu[grid - 1], len(notation.nu)
    if grid < J:
        return nu + 1, nu + 1
    return (0 if nu == 1 and J > 1 else nu), nu


def parameters(notation: Notation, form_A: MapForm, form_B: MapForm, shape: Shape) -> int:
    """Trainable and fixed weights, BatchNorm's running statistics not counted."""
    entries = table(notation, form_A, form_B, shape, size=(64, 64))  # any size: parameters do not depend on it
    return sum(entry.parameters for entry in entries)
