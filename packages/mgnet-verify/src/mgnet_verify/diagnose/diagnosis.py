"""What a trained MgNet does with its equation A u = f: residuals, corrections and contraction on each grid, for each iteration.

Nothing here passes or fails. A MgNet is built like an iterative solver; whether training keeps it one is a question of
measurement, and this is the instrument.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from mgnet_verify.network.protocol import GridView, view_of
from mgnet_verify.network.trace import traced

POWER_STEPS = 30


@dataclass(frozen=True, kw_only=True)
class IterationDiagnosis:
    """One iteration on one grid, in root mean squares over images, channels and pixels.

    `residual` is ||r^{i-1}||, `correction` ||s^i|| and `ratio` ||r^i|| / ||r^{i-1}|| (None after the last iteration of the last
    grid, where r is not computed). `radius` is the spectral radius of the Jacobian of r -> r - A S(r) at the first image's
    residual, found by power iteration: below 1 the iteration contracts near that residual. `norm_A` is the largest singular
    value of A. `receptive_field` is the width in pixels of the image that one value of u^{l,i} can depend on.
    """

    grid: int
    iteration: int
    residual: float
    correction: float
    ratio: float | None
    radius: float
    norm_A: float
    receptive_field: int


def diagnose(model: nn.Module, images: Tensor, *, seed: int = 0) -> list[IterationDiagnosis]:
    """Every iteration of every grid for a batch of images (b, c, h, w) in the model's own scale; float64, evaluation mode."""
    copied = copy.deepcopy(model).double().cpu().eval()
    for parameter in copied.parameters():
        parameter.requires_grad_(False)
    view = view_of(copied)
    if "residual" not in view.forms:
        raise ValueError(f"{type(model).__name__} has no residual form to watch: name one in NetworkView.forms")
    seen = traced(view, view.forms["residual"], images.double().cpu())
    fields = receptive_fields(view.grids, imagenet=view.imagenet)
    torch.manual_seed(seed)
    rows = []
    for number, (grid, here) in enumerate(zip(view.grids, seen.grids), start=1):
        norm_A = _norm_of_A(grid, here.r[0][:1])
        following = [*here.r[1:], *(after.to_R[0] for after in seen.grids[number : number + 1])]
        for i, r in enumerate(here.r):
            s = _correction(grid, i, torch.from_numpy(r))
            rows.append(
                IterationDiagnosis(
                    grid=number,
                    iteration=i + 1,
                    residual=_rms(r),
                    correction=_rms(s.numpy()),
                    ratio=_rms(following[i]) / _rms(r) if i < len(following) and _rms(r) > 0 else None,
                    radius=_radius(grid, i, torch.from_numpy(r[:1])),
                    norm_A=norm_A,
                    receptive_field=fields[number - 1][i],
                )
            )
    return rows


def receptive_fields(grids: tuple[GridView, ...], *, imagenet: bool) -> list[list[int]]:
    """Width in pixels of what u^{l,i} can depend on, from kernel widths and strides alone.

    An iteration reads r, and the next r depends on r through B and A: each adds its kernel's reach, scaled by the strides
    so far. R and Pi add theirs before their stride takes effect.
    """
    width, stride = (7, 2) if imagenet else (3, 1)
    if imagenet:
        width, stride = width + 2 * stride, 2 * stride
    fields = []
    for grid in grids:
        if grid.transfer is not None:
            width, stride = width + (grid.transfer.R.kernel_size[0] - 1) * stride, 2 * stride
        here = []
        for B in grid.B:
            here.append(width + (B.kernel_size[0] - 1) * stride)
            width = here[-1] + (grid.A.kernel_size[0] - 1) * stride
        fields.append(here)
    return fields


def _correction(grid: GridView, i: int, r: Tensor) -> Tensor:
    """S(r), with ReLU after a normalization that has none inside; ReLU twice is ReLU."""
    return _sigma(grid.sigma_u[i], grid.B[i](_sigma(grid.sigma_r[i], r)))


def _sigma(module: nn.Module, x: Tensor) -> Tensor:
    y = module(x)
    return y if isinstance(module, nn.Identity) else torch.relu(y)


def _radius(grid: GridView, i: int, r: Tensor) -> float:
    """Spectral radius of the iteration's Jacobian: the growth of a random direction, averaged over the later half of the powers."""
    direction = torch.randn_like(r)
    growth = []
    for _ in range(POWER_STEPS):
        direction = direction / direction.norm()
        direction = torch.func.jvp(lambda x: x - grid.A(_correction(grid, i, x)), (r,), (direction,))[1]
        growth.append(float(direction.norm()))
    return float(np.exp(np.mean(np.log(np.maximum(growth[POWER_STEPS // 2 :], 1e-300)))))


def _norm_of_A(grid: GridView, r: np.ndarray) -> float:
    """The largest singular value of A on images of this grid's size, by power iteration on A^T A."""
    u = torch.randn(1, grid.A.in_channels, *r.shape[2:], dtype=torch.float64)
    norm = 0.0
    for _ in range(POWER_STEPS):
        f = grid.A(u)
        u = torch.nn.functional.conv_transpose2d(f, grid.A.weight, padding=grid.A.padding)  # type: ignore[arg-type]
        norm = float(u.norm()) ** 0.5
        u = u / u.norm()
    return norm


def _rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(x))))
