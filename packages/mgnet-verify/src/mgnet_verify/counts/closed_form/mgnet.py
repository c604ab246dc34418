"""Parameters and multiply-adds of a MgNet by arithmetic from its notation alone: no network is built.

Convention of the multiply-adds: convolutions and the linear layer, a product with a padded zero counted, nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from mgnet_models.notation import Notation, StemKind

Form = Literal["residual", "feature"]
CONVENTION = "conv + linear multiply-adds, padded zeros counted"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One operator on one grid (0: stem and head): how often it runs, multiply-adds of all runs, parameters."""

    grid: int
    operator: str
    runs: int
    macs: int
    parameters: int


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What the notation leaves open: input channels, classes, stem, and the kernel width of Pi and R."""

    in_chans: int = 3
    num_classes: int = 1000
    stem: StemKind = "cifar"
    transfer_kernel: int = 3
    transfer_norm: bool = True


def halved(size: int) -> int:
    """Pixels after a stride of two, rounded up."""
    return -(-size // 2)


def grid_sizes(notation: Notation, stem: StemKind, size: tuple[int, int]) -> list[tuple[int, int]]:
    """(height, width) of every grid for an image of `size`; the ImageNet stem halves twice."""
    h, w = size
    for _ in range(2 if stem == "imagenet" else 0):
        h, w = halved(h), halved(w)
    sizes = [(h, w)]
    for _ in notation.nu[1:]:
        h, w = halved(h), halved(w)
        sizes.append((h, w))
    return sizes


def table(notation: Notation, shape: Shape, *, size: tuple[int, int], form: Form) -> list[Entry]:
    """Every operator of every grid, from the stem to the head, in the execution of `form` on one image of `size`.

    Residual form: A once an iteration, but not after the last iteration of the last grid. Feature form: A once an
    iteration, once more for f on every coarse grid, once more for the restriction from every grid but the last.
    The difference is M_1 + 2 (M_2 + ... + M_J), M_l being one A on grid l, and does not depend on nu.
    """
    entries = list(_stem(notation, shape, size)) + list(_head(notation, shape))
    J = len(notation.nu)
    for grid, (h, w) in enumerate(grid_sizes(notation, shape.stem, size), start=1):
        nu, c_u, c_f = notation.nu[grid - 1], notation.c_u[grid - 1], notation.c_f[grid - 1]
        first, last = grid == 1, grid == J
        kernel = 9 * c_u * c_f
        runs_A = nu - last if form == "residual" else nu + (not first) + (not last)
        kernels_B = 1 if notation.share_B else nu
        entries.append(Entry(grid=grid, operator="A", runs=runs_A, macs=runs_A * kernel * h * w, parameters=kernel))
        entries.append(Entry(grid=grid, operator="B", runs=nu, macs=nu * kernel * h * w, parameters=kernels_B * kernel))
        entries.append(Entry(grid=grid, operator="sigma", runs=2 * nu, macs=0, parameters=2 * nu * (c_u + c_f)))
        if not first:
            entries.extend(_transfer(notation, shape, grid, h * w))
    return sorted(entries, key=lambda entry: (entry.operator == "classifier", entry.grid))


def _stem(notation: Notation, shape: Shape, size: tuple[int, int]) -> Iterator[Entry]:
    imagenet = shape.stem == "imagenet"
    pixels = halved(size[0]) * halved(size[1]) if imagenet else size[0] * size[1]
    kernel = (49 if imagenet else 9) * shape.in_chans * notation.c_f[0]
    yield Entry(grid=0, operator="theta", runs=1, macs=kernel * pixels, parameters=kernel)
    yield Entry(grid=0, operator="sigma", runs=1, macs=0, parameters=2 * notation.c_f[0])


def _transfer(notation: Notation, shape: Shape, grid: int, pixels: int) -> Iterator[Entry]:
    norms = 2 if shape.transfer_norm else 0
    for operator, c in (("Pi", notation.c_u), ("R", notation.c_f)):
        kernel = shape.transfer_kernel**2 * c[grid - 2] * c[grid - 1]
        yield Entry(grid=grid, operator=operator, runs=1, macs=kernel * pixels, parameters=kernel + norms * c[grid - 1])


def _head(notation: Notation, shape: Shape) -> Iterator[Entry]:
    products = notation.c_u[-1] * shape.num_classes
    yield Entry(grid=0, operator="classifier", runs=1, macs=products, parameters=products + shape.num_classes)


def parameters(notation: Notation, shape: Shape) -> int:
    """Trainable and fixed weights, BatchNorm's running statistics not counted."""
    smallest = 2 ** (len(notation.nu) + 2)  # any size will do: parameters do not depend on it
    return sum(entry.parameters for entry in table(notation, shape, size=(smallest, smallest), form="residual"))


def macs(notation: Notation, shape: Shape, *, size: tuple[int, int], form: Form) -> int:
    """Multiply-adds of one image, see CONVENTION."""
    return sum(entry.macs for entry in table(notation, shape, size=size, form=form))
