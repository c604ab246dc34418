"""MgNet for inference only: BatchNorm folded into the convolutions wherever that is exact.

Folding is exact after stem, B, Pi and R, where the normalization follows a convolution at once. The one before sigma on r
cannot go into B: a ReLU is between them, and r lives on without normalization. Its running statistics make it a scale and a
shift for each channel. The folded network is the same MgNet with other modules in its grids, and runs the same equations.
"""

from __future__ import annotations

import copy
from typing import cast

import torch
from timm.layers import BatchNormAct2d, FrozenBatchNormAct2d, SyncBatchNormAct
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

    Raises ValueError for another network, for a sigma other than BatchNorm with an activation, for a module whose weights are
    computed from other tensors (pruned, parametrized, wrapped), and for hooks on what is folded: the message says what to call
    first.
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
        A = self._grid.A
        if type(A) is not Conv3x3 or A.bias is not None or not A.is_as_converted or not A.is_bare:
            return Grid.next_residual(self._grid, r, s)
        return self._minus_A.conv3x3(s, A.weight, addend=r, policy=A.policy)


class ScaleShift(nn.Module):
    """What a BatchNorm with frozen statistics is: x (b, c, h, w) to scale * x + shift, one number each for a channel."""

    scale: Tensor
    shift: Tensor

    def __init__(self, sigma: nn.Module) -> None:
        super().__init__()
        dtype = cast(Tensor, sigma.running_var).dtype
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
    scale = torch.rsqrt(var + norm.eps)
    if norm.weight is None:
        return scale, -mean * scale
    scale = norm.weight.detach().double() * scale
    return scale, norm.bias.detach().double() - mean * scale


def _activation(sigma: nn.Module) -> nn.Module:
    """The activation of a sigma; a ReLU works in place, because its input is a temporary tensor."""
    act = cast(nn.Module, sigma.act)
    return nn.ReLU(inplace=True) if type(act) is nn.ReLU else copy.deepcopy(act)


def _check_foldable(model: MgNet) -> None:
    """Raises ValueError unless every convolution holds its weight and every sigma its statistics."""
    for name, module in model.named_modules():
        _check_tensors(name, module)
    stem = cast(Stem, model.stem)
    pairs: list[tuple[str, nn.Module, str, nn.Module]] = [("stem.theta", stem.theta, "stem.sigma", stem.sigma)]
    for index, grid in enumerate(cast(list[Grid], list(model.grids))):
        at = f"grids.{index}"
        for i, (sigma_r, sigma_u) in enumerate(zip(grid.sigma_r, grid.sigma_u)):
            _check_sigma(f"{at}.sigma_r.{i}", sigma_r)
            b = 0 if grid.share_B else i
            pairs.append((f"{at}.B.{b}", grid.B[b], f"{at}.sigma_u.{i}", sigma_u))
        if grid.transfer is not None:
            for letter in ("Pi", "R"):
                convolution, sigma = getattr(grid.transfer, letter), getattr(grid.transfer, f"sigma_{letter}")
                pairs.append((f"{at}.transfer.{letter}", convolution, f"{at}.transfer.sigma_{letter}", sigma))
    for name, convolution, name_of_sigma, sigma in pairs:
        if not isinstance(sigma, nn.Identity):  # else nothing is folded
            _check_convolution(name, convolution)
            _check_sigma(name_of_sigma, sigma)


def _check_tensors(name: str, module: nn.Module) -> None:
    """Whether a copy of a module computes what the module computes."""
    if parametrize.is_parametrized(module):
        raise ValueError(
            f"{name} has a parametrized weight: call torch.nn.utils.parametrize.remove_parametrizations on it, then fold"
        )
    computed = [attribute for attribute, value in vars(module).items() if isinstance(value, Tensor)]
    if computed:
        kinds = {type(hook).__name__ for hook in module._forward_pre_hooks.values()} or {"something else"}
        raise ValueError(
            f"the {computed[0]} of {name} is computed by {', '.join(sorted(kinds))} at each call: make it permanent "
            "(torch.nn.utils.prune.remove, remove_weight_norm, remove_spectral_norm), then fold"
        )
    if "forward" in vars(module):
        raise ValueError(
            f"the forward method of {name or 'the network'} was replaced, and may use the weights of this one: undo that, then fold"
        )


def _check_convolution(name: str, convolution: nn.Module) -> None:
    kind = type(convolution)
    # Subclasses may compute something else. A Conv3x3 differs in how alone.
    if kind not in (nn.Conv2d, Conv3x3):
        raise ValueError(f"{name} is a {kind.__name__}: merge it into one nn.Conv2d, then fold")
    if "weight" not in convolution._parameters:
        raise ValueError(f"the weight of {name} is no parameter: set it to an nn.Parameter, then fold")
    _check_hooks(name, convolution)


# How each of them normalizes in evaluation mode is known, and so is what follows.
_FOLDABLE = (BatchNormAct2d, SyncBatchNormAct, FrozenBatchNormAct2d)
_NO_CHANGE_IN_EVALUATION = (nn.Identity, nn.modules.dropout._DropoutNd)


def _check_sigma(name: str, sigma: nn.Module) -> None:
    needed = "optimize_for_inference needs timm's BatchNorm with its activation and running statistics"
    if type(sigma) not in _FOLDABLE or not isinstance(getattr(sigma, "act", None), nn.Module):
        raise ValueError(f"{name} is a {type(sigma).__name__}, which cannot be folded: {needed}")
    if sigma.running_mean is None or sigma.running_var is None:
        raise ValueError(f"{name} has no running statistics and cannot be folded: {needed}")
    drop = getattr(sigma, "drop", nn.Identity())
    if not isinstance(drop, _NO_CHANGE_IN_EVALUATION):
        raise ValueError(
            f"{name}.drop is a {type(drop).__name__}, which is not known to do nothing in evaluation: remove it, then fold"
        )
    for part, module in sigma.named_modules(prefix=name):
        _check_hooks(part, module)


def _check_hooks(name: str, module: nn.Module) -> None:
    if module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks:
        raise ValueError(f"{name} has hooks, which would see other tensors after folding: remove them, then fold")
