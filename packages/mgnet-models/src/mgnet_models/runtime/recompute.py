"""What training keeps of the activations: the memory modes of a grid of MgNet.

Full tensors kept for one smoothing iteration (the literal form: 5), and what the backward pass does again:
default  4: r, sigma(r), B * sigma(r), s    nothing; plain autograd
lean     2: r, B * sigma(r)                 both sigma, from their statistics
leaner   1: r                               also the convolution with B
deep     1 for each run of iterations: r    the whole run; about sqrt(nu / 2) iterations, which has the lowest peak
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from difflib import get_close_matches
from typing import TYPE_CHECKING, Literal, cast, get_args

import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn

from mgnet_models.runtime.batch_normalisation import NormSettings
from mgnet_models.runtime.convolution import ShortConvolutions
from mgnet_models.runtime.lean_iteration import Iterations, Run, Weights

if TYPE_CHECKING:
    from mgnet_models.mgnet.grid import Grid

MemoryMode = Literal["default", "lean", "leaner", "deep"]
MEMORY_MODES: tuple[MemoryMode, ...] = get_args(MemoryMode)


def check_memory_mode(mode: str) -> None:
    """Raises ValueError for an unknown mode, with near names."""
    if mode not in MEMORY_MODES:
        near = get_close_matches(mode, MEMORY_MODES)
        raise ValueError(f"memory mode {mode!r} is unknown: use {' or '.join(map(repr, near or MEMORY_MODES))}")


def check_recomputable(grid: Grid, mode: str) -> None:
    """Raises ValueError unless every sigma of a grid is BatchNorm and ReLU, whose statistics say all that is recomputed."""
    for norm in (*grid.sigma_r, *grid.sigma_u):
        if type(norm) is not BatchNormAct2d or type(norm.act) is not nn.ReLU or norm.weight is None:
            raise ValueError(
                f"memory mode {mode!r} recomputes BatchNorm and ReLU, this network has {_described(norm)}: "
                "use set_grad_checkpointing(), which serves any sigma"
            )


def _described(norm: nn.Module) -> str:
    act = getattr(norm, "act", None)
    return type(norm).__name__ if act is None else f"{type(norm).__name__} with {type(act).__name__}"


def iterate(grid: Grid, u: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
    """All smoothing iterations of a grid, in runs that keep what its memory mode says."""
    check_recomputable(grid, grid.memory_mode)
    A, *B = _in_compute_dtype([grid.A, *grid.B], r.device.type)
    for iterations in _runs(grid):
        positions = [0 if grid.share_B else i for i in iterations]
        run = Run(
            norms=tuple((NormSettings.of_call(grid.sigma_r[i]), NormSettings.of_call(grid.sigma_u[i])) for i in iterations),
            positions_B=tuple(position - positions[0] for position in positions),
            updates_r=not (grid.last and iterations[-1] == grid.nu - 1),
            keeps_smoothed=grid.memory_mode == "lean",
            in_short_way=ShortConvolutions.are_on(),
        )
        weights = Weights(
            A=A,
            B=tuple(B[positions[0] : positions[-1] + 1]),
            norms=tuple(_norm_weights(grid.sigma_r[i], grid.sigma_u[i]) for i in iterations),
            drop=tuple(_drop_factors(grid.drop_path[i], r, A.dtype) for i in iterations),
        )
        u, r = Iterations.apply(run, u, r, *weights.flat())
    return u, r


def _runs(grid: Grid) -> Iterator[range]:
    """Iterations cut into runs of k: nu/k starts are kept and 2k tensors recomputed, least together at k = sqrt(nu/2)."""
    length = max(1, round(math.sqrt(grid.nu / 2))) if grid.memory_mode == "deep" else 1
    for first in range(0, grid.nu, length):
        yield range(first, min(first + length, grid.nu))


def _in_compute_dtype(convolutions: list[nn.Module], device: str) -> list[Tensor]:
    """The weights as autocast would have them; it does not reach into an autograd function."""
    weights = [cast(Tensor, convolution.weight) for convolution in convolutions]
    if not torch.is_autocast_enabled(device):
        return weights
    return [weight.to(torch.get_autocast_dtype(device)) for weight in weights]


def _norm_weights(sigma_r: BatchNormAct2d, sigma_u: BatchNormAct2d) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return sigma_r.weight, sigma_r.bias, sigma_u.weight, sigma_u.bias


def _drop_factors(drop_path: nn.Module, r: Tensor, dtype: torch.dtype) -> Tensor | None:
    """What drop-path multiplies each image's correction with, (b, 1, 1, 1), from the same random numbers."""
    if isinstance(drop_path, nn.Identity) or not drop_path.training:
        return None
    return drop_path(r.new_ones((len(r), 1, 1, 1), dtype=dtype))
