"""MgNet for inference only: BatchNorm folded into the convolutions wherever that is exact.

Folding is exact after stem, B, Pi and R, where the normalisation follows a convolution at once. The one before sigma on r
cannot go into B: a ReLU stands between, and r lives on without normalisation. Its running statistics make it a scale and a
shift for each channel. A is stored with the sign of (4.5), so that its output takes r in as it is, without another tensor.

Shapes: u and s (b, c_u, h, w); f and r (b, c_f, h, w).
"""

from __future__ import annotations

import copy
from typing import cast

import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn

from mgnet_models.mgnet.grid import Grid
from mgnet_models.mgnet.model import MgNet
from mgnet_models.mgnet.stem import Stem
from mgnet_models.mgnet.transfer import Transfer
from mgnet_models.runtime.winograd_layer import WinogradConv2d


def optimize_for_inference(model: MgNet, *, winograd: bool = True) -> InferenceMgNet:
    """The same function in fewer operations, with the running statistics as they are now; `model` is not changed.

    The result is in eval mode, computes in channels_last whatever the layout of its images, has no gradients, and can be
    compiled, exported, or moved to another dtype or device. Its logits equal `model.eval()`'s up to rounding; the folding
    itself is done in double precision. With `winograd`, wide convolutions on a CPU take fewer multiplications
    and round a few times more (`mgnet_models.runtime.winograd`). Raises ValueError for another network, and for a sigma other than
    BatchNorm with an activation.
    """
    if not isinstance(model, MgNet):
        raise ValueError(f"{type(model).__name__} has no folded form: give a MgNet, or compile the model with torch.compile")
    return InferenceMgNet(model, winograd=winograd)


class InferenceMgNet(nn.Module):
    """Image (b, in_chans, h, w) to logits (b, num_classes), for inference."""

    def __init__(self, model: MgNet, *, winograd: bool) -> None:
        super().__init__()
        stem = cast(Stem, model.stem)
        self.notation = model.notation
        self.stem = nn.Sequential(_folded(stem.theta, stem.sigma), copy.deepcopy(stem.R_max))
        self.grids = nn.ModuleList(InferenceGrid(cast(Grid, grid), winograd=winograd) for grid in model.grids)
        self.head = copy.deepcopy(model.head)
        self.eval().requires_grad_(False).to(memory_format=torch.channels_last)

    def forward_features(self, x: Tensor) -> Tensor:
        """The feature u of the coarsest grid."""
        state = None, self.stem(x.contiguous(memory_format=torch.channels_last))  # u^{1,0} = 0, r^{1,0} = f^1
        for grid in self.grids:
            state = grid(*state)
        return cast(Tensor, state[0])

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        return self.head(self.forward_features(x))


class InferenceGrid(nn.Module):
    """The residual form of one grid with folded normalisations; u is None where it is zero."""

    scale: Tensor
    shift: Tensor

    def __init__(self, grid: Grid, *, winograd: bool) -> None:
        super().__init__()
        self.transfer = None if grid.transfer is None else InferenceTransfer(grid.transfer)
        self.B = nn.ModuleList(
            _folded(cast(nn.Conv2d, grid.B[0 if grid.share_B else i]), sigma_u) for i, sigma_u in enumerate(grid.sigma_u)
        )
        scale, shift = (torch.stack(all_iterations) for all_iterations in zip(*map(_affine, grid.sigma_r)))
        dtype = cast(nn.Conv2d, grid.A).weight.dtype
        self.register_buffer("scale", scale[:, :, None, None].to(dtype))  # (nu, c_f, 1, 1)
        self.register_buffer("shift", shift[:, :, None, None].to(dtype))
        self.act_r = nn.ModuleList(_activation(sigma_r) for sigma_r in grid.sigma_r)
        self.minus_A = copy.deepcopy(cast(nn.Conv2d, grid.A))
        self.minus_A.weight.data.neg_()
        if winograd:
            self.minus_A = WinogradConv2d(self.minus_A)
            for B in cast(list[nn.Sequential], list(self.B)):
                B[0] = WinogradConv2d(cast(nn.Conv2d, B[0]))
        self.last = grid.last

    def forward(self, u: Tensor | None, r: Tensor) -> tuple[Tensor, Tensor]:
        """(u, r) after all iterations."""
        if self.transfer is not None and u is not None:
            u, r = self.transfer(u, r)
        for i, (B, act_r) in enumerate(zip(self.B, self.act_r)):
            s = B(act_r(torch.addcmul(self.shift[i], r, self.scale[i])))
            u = s if u is None else u + s
            if not (self.last and i == len(self.B) - 1):
                r = self.minus_A(s).add_(r)  # (4.5)
        assert u is not None  # a grid has at least one iteration
        return u, r


class InferenceTransfer(nn.Module):
    """Pi and R with folded normalisations."""

    def __init__(self, transfer: Transfer) -> None:
        super().__init__()
        self.Pi = _folded(transfer.Pi, transfer.sigma_Pi)
        self.R = _folded(transfer.R, transfer.sigma_R)

    def forward(self, u: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
        """(u^l, r^l) -> (u^{l+1,0}, r^{l+1,0})."""
        return self.Pi(u), self.R(r)  # (3.6) (3.7)


def _folded(convolution: nn.Conv2d, sigma: nn.Module) -> nn.Sequential:
    """sigma after a convolution without bias: one convolution with bias, then the activation. The identity stays out."""
    if isinstance(sigma, nn.Identity):
        return nn.Sequential(copy.deepcopy(convolution))
    scale, shift = _affine(sigma)
    folded = copy.deepcopy(convolution)
    weight = convolution.weight.detach()
    folded.weight = nn.Parameter((weight.double() * scale[:, None, None, None]).to(weight.dtype))
    folded.bias = nn.Parameter(shift.to(weight.dtype))
    return nn.Sequential(folded, _activation(sigma))


def _affine(sigma: nn.Module) -> tuple[Tensor, Tensor]:
    """Scale and shift (c,), float64, of a BatchNorm with its running statistics."""
    if not isinstance(sigma, BatchNormAct2d) or sigma.running_mean is None or sigma.running_var is None:
        raise ValueError(
            f"{type(sigma).__name__} cannot be folded: it normalises by the image itself; optimize_for_inference needs "
            "BatchNorm with running statistics"
        )
    scale = sigma.weight.detach().double() * torch.rsqrt(sigma.running_var.double() + sigma.eps)
    shift = sigma.bias.detach().double() - sigma.running_mean.double() * scale
    return scale, shift


def _activation(sigma: nn.Module) -> nn.Module:
    """The activation of a sigma, in the memory of its argument where that is a ReLU: the argument is always scratch."""
    act = cast(nn.Module, sigma.act)
    return nn.ReLU(inplace=True) if type(act) is nn.ReLU else copy.deepcopy(act)
