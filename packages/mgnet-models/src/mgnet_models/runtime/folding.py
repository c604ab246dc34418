"""MgNet for inference only: BatchNorm folded into the convolutions wherever that is exact.

Folding is exact after stem, B, Pi and R, where the normalization follows a convolution at once. The one before sigma on r
cannot go into B: a ReLU is between them, and r lives on without normalization. Its running statistics make it a scale and a
shift for each channel. The folded network is the same MgNet with other modules in its grids, and runs the same equations.
"""

from __future__ import annotations

import copy
from typing import cast

import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn
from torch.jit import is_tracing  # type: ignore[attr-defined]
from torch.nn.utils import parametrize

from mgnet_models.mgnet.grid import Grid
from mgnet_models.mgnet.model import MgNet
from mgnet_models.mgnet.stem import Stem
from mgnet_models.runtime.convolution import Conv3x3, use_winograd


def optimize_for_inference(model: MgNet, *, winograd: bool = True) -> MgNet:
    """The same function in fewer operations, with the running statistics as they are now; `model` is not changed.

    The result is in eval mode, computes in channels_last whatever the layout of its images, has no gradients, and can be
    compiled, exported, or moved to another dtype or device. Its logits equal `model.eval()`'s up to rounding; the folding
    itself is done in double precision. Where B is shared, each iteration gets a folded copy of it. With `winograd`, wide
    convolutions take fewer multiplications on a CPU and round a few times more (`use_winograd`).

    Raises ValueError for another network, for a sigma other than BatchNorm with an activation, and for a convolution whose
    weight is computed from other tensors (pruned, parametrized, wrapped): the message says what to call first.
    """
    if not isinstance(model, MgNet):
        raise ValueError(f"{type(model).__name__} has no folded form: give a MgNet, or compile the model with torch.compile")
    _check_foldable(model)
    folded = copy.deepcopy(model)
    folded.set_grad_checkpointing(False)
    folded.set_recompute("none")
    stem = cast(Stem, folded.stem)
    stem.theta, stem.sigma = _fold(stem.theta, stem.sigma)
    for grid in cast(list[Grid], list(folded.grids)):
        if grid.transfer is not None:
            grid.transfer.Pi, grid.transfer.sigma_Pi = _fold(grid.transfer.Pi, grid.transfer.sigma_Pi)
            grid.transfer.R, grid.transfer.sigma_R = _fold(grid.transfer.R, grid.transfer.sigma_R)
        pairs = [_fold(grid.B[0 if grid.share_B else i], sigma_u) for i, sigma_u in enumerate(grid.sigma_u)]
        grid.B, grid.sigma_u = (nn.ModuleList(modules) for modules in zip(*pairs))
        grid.share_B = False
        grid.sigma_r = nn.ModuleList(nn.Sequential(ScaleShift(sigma_r), _activation(sigma_r)) for sigma_r in grid.sigma_r)
    finest = cast(Grid, folded.grids[0])
    finest.residual_iteration = _FromZero(finest)  # type: ignore[method-assign]
    folded.eval().requires_grad_(False).to(memory_format=torch.channels_last)
    if winograd:
        use_winograd(folded)
        for module in folded.modules():
            if isinstance(module, Conv3x3):
                module.freeze()
            if isinstance(module, Grid) and isinstance(module.A, Conv3x3):
                module.next_residual = _ResidualInOneCall(module)  # type: ignore[method-assign]
    return folded


class _FromZero:
    """The iteration of the finest grid, where 0 + s is s: a whole pass over the largest feature that nobody needs."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid

    def __call__(self, u: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
        if not _is_zero_of_stem(u):
            return Grid.residual_iteration(self._grid, u, r)
        u, r = self._grid.residual_step(0, r)
        for i in range(1, self._grid.nu):
            s, r = self._grid.residual_step(i, r)
            u = u + s
        return u, r


def _is_zero_of_stem(u: Tensor) -> bool:
    """Whether u is the one zero that stands for a full tensor; False where reading a number would end a trace."""
    if type(u) is not Tensor or torch.compiler.is_compiling() or is_tracing() or u.is_meta:
        return False
    return u.dim() == 4 and u.stride()[2:] == (0, 0) and u.numel() > 0 and not bool(u[:, :, 0, 0].any())


class _ResidualInOneCall:
    """r - A * s of one grid in one call: the Winograd convolution with -A adds r while it writes, which saves two passes."""

    def __init__(self, grid: Grid) -> None:
        from mgnet_kernels import FrozenWeight

        self._grid = grid
        self._minus_A = FrozenWeight(negated=True)

    def __call__(self, r: Tensor, s: Tensor) -> Tensor:
        A = cast(Conv3x3, self._grid.A)
        if A.bias is not None or A._forward_hooks or A._forward_pre_hooks:
            return Grid.next_residual(self._grid, r, s)
        return self._minus_A.conv3x3(s, A.weight, addend=r, policy=A.policy)


class ScaleShift(nn.Module):
    """What a BatchNorm with frozen statistics is: x (b, c, h, w) to scale * x + shift, one number each for a channel."""

    scale: Tensor
    shift: Tensor

    def __init__(self, sigma: nn.Module) -> None:
        super().__init__()
        dtype = cast(Tensor, sigma.weight).dtype
        for name, values in zip(("scale", "shift"), _affine(sigma)):
            self.register_buffer(name, values.to(dtype)[:, None, None])

    def forward(self, x: Tensor) -> Tensor:
        """scale * x + shift, in one operation."""
        return torch.addcmul(self.shift, x, self.scale)


def _fold(convolution: nn.Module, sigma: nn.Module) -> tuple[nn.Conv2d, nn.Module]:
    """The convolution with the normalization of sigma in its weight and bias, and the activation that is left of sigma."""
    folded = copy.deepcopy(cast(nn.Conv2d, convolution))  # with its hooks
    if isinstance(sigma, nn.Identity):
        return folded, sigma
    scale, shift = _affine(sigma)
    weight, bias = folded.weight.detach(), folded.bias
    if bias is not None:
        shift = shift + scale * bias.detach().double()
    folded.weight = nn.Parameter((weight.double() * scale[:, None, None, None]).to(weight.dtype))
    folded.bias = nn.Parameter(shift.to(weight.dtype))
    return folded, _activation(sigma)


def _affine(sigma: nn.Module) -> tuple[Tensor, Tensor]:
    """Scale and shift (c,), float64, of a BatchNorm with its running statistics."""
    norm = cast(nn.BatchNorm2d, sigma)
    mean, var = cast(Tensor, norm.running_mean).double(), cast(Tensor, norm.running_var).double()
    scale = norm.weight.detach().double() * torch.rsqrt(var + norm.eps)
    return scale, norm.bias.detach().double() - mean * scale


def _activation(sigma: nn.Module) -> nn.Module:
    """The activation of a sigma; a ReLU works in place, because its input is a temporary tensor."""
    act = cast(nn.Module, sigma.act)
    return nn.ReLU(inplace=True) if type(act) is nn.ReLU else copy.deepcopy(act)


def _check_foldable(model: MgNet) -> None:
    """Raises ValueError unless every convolution holds its weight and every sigma its statistics."""
    for grid in cast(list[Grid], list(model.grids)):
        for sigma in (*grid.sigma_r, *grid.sigma_u):
            _check_sigma(sigma)
    for name, module in model.named_modules():
        if parametrize.is_parametrized(module):
            raise ValueError(
                f"{name} has a parametrized weight: call torch.nn.utils.parametrize.remove_parametrizations on it, then fold"
            )
        if isinstance(module, nn.Conv2d) and "weight" not in module._parameters:
            kinds = {type(hook).__name__ for hook in module._forward_pre_hooks.values()} or {"something else"}
            raise ValueError(
                f"the weight of {name} is computed by {', '.join(sorted(kinds))} at each call: make it permanent "
                "(torch.nn.utils.prune.remove, torch.nn.utils.remove_weight_norm), then fold"
            )
    stem = cast(Stem, model.stem)
    pairs: list[tuple[str, nn.Module, nn.Module]] = [("stem.theta", stem.theta, stem.sigma)]
    for index, grid in enumerate(cast(list[Grid], list(model.grids))):
        pairs += [(f"grids.{index}.B.{i}", B, nn.Identity()) for i, B in enumerate(grid.B)]
        if grid.transfer is not None:
            pairs.append((f"grids.{index}.transfer.Pi", grid.transfer.Pi, grid.transfer.sigma_Pi))
            pairs.append((f"grids.{index}.transfer.R", grid.transfer.R, grid.transfer.sigma_R))
    for name, convolution, sigma in pairs:
        if not isinstance(convolution, nn.Conv2d):
            raise ValueError(f"{name} is a {type(convolution).__name__}: merge it into one nn.Conv2d, then fold")
        if not isinstance(sigma, nn.Identity):
            _check_sigma(sigma)


def _check_sigma(sigma: nn.Module) -> None:
    if not isinstance(sigma, BatchNormAct2d) or sigma.running_mean is None or sigma.running_var is None or sigma.weight is None:
        raise ValueError(
            f"{type(sigma).__name__} cannot be folded: it normalizes by the image itself; optimize_for_inference needs "
            "BatchNorm with running statistics"
        )
