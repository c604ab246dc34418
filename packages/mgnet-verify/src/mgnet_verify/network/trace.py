"""What a model really computes: its parts are watched by forward hooks while a form runs.

Nothing here calls a step function of the model; the model is run as a whole, and each part reports what it was given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from mgnet_verify.network.protocol import Forward, Parts, array
from mgnet_verify.specification import Array


@dataclass
class GridRecord:
    """What reached the parts of one grid, in order: r to sigma_r, operands to A, operands to B; u and r to Pi and R."""

    r: list[Array] = field(default_factory=list)
    to_A: list[Array] = field(default_factory=list)
    to_B: list[Array] = field(default_factory=list)
    to_Pi: list[Array] = field(default_factory=list)
    to_R: list[Array] = field(default_factory=list)


@dataclass
class Record:
    """One run of one form: the records of the grids, what the head was given (u^J), and the logits."""

    grids: list[GridRecord]
    to_head: list[Array]
    logits: Array


def record(parts: Parts, forward: Forward, image: Tensor) -> Record:
    """Run `forward` once and write down what each part was given."""
    grids = [GridRecord() for _ in parts.grids]
    to_head: list[Array] = []
    with watching([*_watched(parts, grids), (parts.head, to_head)]), torch.no_grad():
        logits = forward(image)
    return Record(grids, to_head, array(logits))


def _watched(parts: Parts, grids: list[GridRecord]) -> Iterator[tuple[nn.Module, list[Array]]]:
    for grid, seen in zip(parts.grids, grids):
        yield grid.A, seen.to_A
        for B in unique(grid.B):
            yield B, seen.to_B
        for sigma in unique(grid.sigma_r):
            yield sigma, seen.r
        if grid.transfer is not None:
            yield grid.transfer.Pi, seen.to_Pi
            yield grid.transfer.R, seen.to_R


def unique(modules: Sequence[nn.Module]) -> list[nn.Module]:
    """Each module once, in order: a shared B must not be watched twice."""
    return list({id(module): module for module in modules}.values())


@contextmanager
def watching(places: list[tuple[nn.Module, list[Array]]]) -> Iterator[None]:
    """Copy the first operand of every call of each module to its list."""
    handles = [module.register_forward_pre_hook(_writer(seen)) for module, seen in places]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _writer(seen: list[Array]) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    def write(_: nn.Module, operands: tuple[Tensor, ...]) -> None:
        seen.append(array(operands[0]))

    return write
