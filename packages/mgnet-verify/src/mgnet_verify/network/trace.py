"""What a model really computes: forward hooks watch the modules of its view while a form runs.

Nothing here calls an iteration of the model. The model runs as a whole, and the hooks write down each module's operands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from mgnet_verify.network.protocol import Forward, NetworkView, array, unique
from mgnet_verify.specification import Array


@dataclass
class GridTrace:
    """What reached the modules of one grid, in order: r to sigma_r, operands to A, operands to B; u and r to Pi and R."""

    r: list[Array] = field(default_factory=list)
    to_A: list[Array] = field(default_factory=list)
    to_B: list[Array] = field(default_factory=list)
    to_Pi: list[Array] = field(default_factory=list)
    to_R: list[Array] = field(default_factory=list)


@dataclass
class Trace:
    """One run of one form: the traces of the grids, what the head was given (u^J), and the logits."""

    grids: list[GridTrace]
    to_head: list[Array]
    logits: Array


def traced(view: NetworkView, forward: Forward, image: Tensor) -> Trace:
    """Run `forward` once on an image (b, c, h, w) and write down the operands of each module, as float64.

    Without gradients, unless `forward` records them itself.
    """
    grids = [GridTrace() for _ in view.grids]
    to_head: list[Array] = []
    with watching([*_watched(view, grids), (view.head, to_head)]), torch.no_grad():
        logits = forward(image)
    return Trace(grids, to_head, array(logits))


def _watched(view: NetworkView, grids: list[GridTrace]) -> Iterator[tuple[nn.Module, list[Array]]]:
    for grid, seen in zip(view.grids, grids):
        yield grid.A, seen.to_A
        for B in unique(grid.B):
            yield B, seen.to_B
        for sigma in unique(grid.sigma_r):
            yield sigma, seen.r
        if grid.transfer is not None:
            yield grid.transfer.Pi, seen.to_Pi
            yield grid.transfer.R, seen.to_R


@contextmanager
def watching_results(places: list[tuple[nn.Module, list[Array]]]) -> Iterator[None]:
    """Copy the result of every call of each module to its list."""

    def writer(seen: list[Array]) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        return lambda _, __, result: seen.append(array(result))

    handles = [module.register_forward_hook(writer(seen)) for module, seen in places]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


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
