"""The duality shown on one real image: both forms of a trained MgNet step by step, and a control that must fail.

The feature iteration (3.5) and the residual iteration (4.5) run apart, each on its own state; a frame holds one channel of u,
of f - A * u computed from u, and of the r that the residual iteration carries. In the control every iteration has an A of
its own, the shared one with its output channels turned by one place more each time; Theorem 4.1 does not cover it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mgnet_models import MgNet
from mgnet_models.catalogue.datasets import DATA_SETS
from mgnet_models.mgnet.grid import Grid
from mgnet_verify.errors import UserError
from mgnet_verify.provenance import commit, versions
from mgnet_verify.resolve import Target

_LEVELS = 127
_WHITE = 16

# A of a grid at an iteration: the paper's A^l ignores the iteration.
System = Callable[[Grid, int], Tensor]


@dataclass(frozen=True, kw_only=True)
class _State:
    """One state of a grid: u, the residual of u, and the residual of the dual recursion, (1, c, h, w) each."""

    u: Tensor
    residual_of_u: Tensor
    r: Tensor


def demonstrate(target: Target, index: int) -> dict[str, Any]:
    """The demonstration as the leaderboard reads it, in float64; UserError unless the target is a MgNet trained on digits."""
    from sklearn.datasets import load_digits

    model = target.model
    if not isinstance(model, MgNet) or target.checkpoint_sha256 is None or cast(nn.Conv2d, model.stem.theta).in_channels != 1:
        raise UserError(f"{target.name} is no checkpoint of a MgNet for digits: give the model.safetensors of mgnet-train fit")
    model = copy.deepcopy(model).double().eval()
    digits, bunch = DATA_SETS["digits"], load_digits()
    if not 0 <= index < len(bunch.images):
        raise UserError(f"there is no digit {index}: choose one from 0 to {len(bunch.images) - 1}")
    pixels = torch.from_numpy(bunch.images[index])
    image = ((pixels / _WHITE - digits.mean[0]) / digits.std[0])[None, None]
    with torch.no_grad():
        shared = list(_states(model, image, _shared))
        control = list(_states(model, image, _turned))
        predicted = int(model(image).argmax())
    channel = int(shared[-1][-1].u.square().sum((0, 2, 3)).argmax()) % min(min(model.notation.c_u), min(model.notation.c_f))
    return {
        "schema_version": 1,
        "kind": "duality_demo",
        "model": target.name,
        "notation": str(model.notation),
        "checkpoint_sha256": target.checkpoint_sha256,
        "commit": commit()[0],
        "versions": versions(),
        "dtype": "float64",
        "channel": channel,
        "image": {
            "dataset": "digits",
            "split": "all",
            "index": index,
            "label": int(bunch.target[index]),
            "predicted": predicted,
            "maximum": _WHITE,
            "pixels": pixels.int().tolist(),
        },
        "grids": [_frames(states, channel) for states in shared],
        "control": {
            "statement": "each iteration has an A of its own: the shared one with its channels turned by one place more",
            "grids": [_frames(states, channel) for states in control],
        },
    }


def _shared(grid: Grid, _: int) -> Tensor:
    return cast(nn.Conv2d, grid.A).weight


def _turned(grid: Grid, i: int) -> Tensor:
    return _shared(grid, i).roll(i, dims=0)


def _states(model: MgNet, image: Tensor, system: System) -> Iterator[list[_State]]:
    """The states of each grid, before its first and after each iteration."""
    _, f = model.stem(image)
    u = f.new_zeros((1, model.notation.c_u[0], *f.shape[2:]))
    r = f
    fine_residual = f
    for grid in model.grids:
        assert isinstance(grid, Grid)
        if grid.transfer is not None:
            u, r = grid.transfer(u, r)  # the dual: r^{l+1,0} = R r^l
            f = grid.transfer.restrict(fine_residual) + _apply(system(grid, 0), u)  # (3.7)
        states = [_State(u=u, residual_of_u=f - _apply(system(grid, 0), u), r=r)]
        for i in range(grid.nu):
            A = system(grid, i)
            u = u + grid.correction(i, f - _apply(A, u))  # (3.5)
            r = r - _apply(A, grid.correction(i, r))  # (4.5)
            states.append(_State(u=u, residual_of_u=f - _apply(system(grid, i + 1), u), r=r))
        fine_residual = states[-1].residual_of_u
        yield states


def _apply(A: Tensor, u: Tensor) -> Tensor:
    return F.conv2d(u, A, padding=A.shape[-1] // 2)


def _frames(states: list[_State], channel: int) -> dict[str, Any]:
    """One channel of the states of a grid as integers, with one scale for u and one for both residuals."""
    u_scale = _largest(state.u[0, channel] for state in states)
    r_scale = _largest(tensor[0, channel] for state in states for tensor in (state.residual_of_u, state.r))
    return {
        "u_scale": u_scale,
        "r_scale": r_scale,
        "steps": [
            {
                "u": _levels(state.u[0, channel], u_scale),
                "residual_of_u": _levels(state.residual_of_u[0, channel], r_scale),
                "r": _levels(state.r[0, channel], r_scale),
                "gap": float((state.residual_of_u - state.r).abs().max()),
            }
            for state in states
        ],
    }


def _largest(tensors: Iterator[Tensor]) -> float:
    return max(float(tensor.abs().max()) for tensor in tensors) or 1.0


def _levels(tensor: Tensor, scale: float) -> list[list[int]]:
    return (tensor / scale * _LEVELS).round().int().tolist()
