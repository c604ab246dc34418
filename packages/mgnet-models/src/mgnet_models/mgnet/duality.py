"""The duality as a tool: a MgNet as the modified pre-act ResNet of its residuals, (4.6), and back.

With one A on each grid, u <- u + sigma B sigma(f - A * u) is r <- r - A * sigma B sigma(r) in terms of r = f - A * u
(Theorem 4.1, with (4.4) where the text cites (4.3)); the pre-act ResNet has the other sign, so A becomes -A.

What the theorem gives: on every grid the residuals of both networks are the same, exactly in exact arithmetic. What it
does not give:
- It speaks of one grid. Between grids a MgNet restricts the residual, r^{l+1,0} = R r^{l}; the pooling block (3.2) of a
  pre-act ResNet adds A sigma B sigma(r), which no MgNet has. The converted network pools by R alone.
- The classifier of a MgNet reads u, that of a residual network r. The residual network has neither u nor the
  interpolation Pi, which no residual depends on; so the logits are not those of the MgNet, and the way back needs Pi and
  the classifier from somewhere.
- It needs no inverse of A: the paper assumes A invertible, but only recovering u from r and f alone would use it.
"""

from __future__ import annotations

import copy
from typing import Any, cast

import torch
from timm.layers import ClassifierHead, get_device_dtype
from torch import Tensor, nn
from torch.jit import is_scripting  # type: ignore[attr-defined]

from mgnet_models.mgnet.grid import Grid
from mgnet_models.mgnet.model import MgNet
from mgnet_models.mgnet.smoothing import SmoothingGrid
from mgnet_models.mgnet.stem import Stem
from mgnet_models.nn.classifier import Network
from mgnet_models.runtime.checkpointing import recompute


class ResidualStem(nn.Module):
    """The data-feature mapping of a MgNet, whose f is the first residual: r^{1,0} = f^1 where u^{1,0} = 0."""

    def __init__(self, f_in: Stem) -> None:
        super().__init__()
        self.f_in = f_in

    def forward(self, image: Tensor) -> Tensor:
        """Map (b, in_chans, h, w) to r^{1,0}, (b, c_f, h', w')."""
        return self.f_in(image)[1]


class Restriction(nn.Module):
    """r^{l+1,0} = sigma R *_2 r^l, as (3.7) gives it: the residual of the coarse grid is the restricted one."""

    def __init__(self, R: nn.Module, sigma_R: nn.Module) -> None:
        super().__init__()
        self.R = R
        self.sigma_R = sigma_R

    def forward(self, r: Tensor) -> Tensor:
        """(b, c_f, h, w) -> (b, c_f', ceil(h/2), ceil(w/2))."""
        return self.sigma_R(self.R(r))


class PreActGrid(SmoothingGrid):
    """One grid of the modified pre-act ResNet: r (b, c_f, h, w), with the A of a MgNet negated."""

    def __init__(self, grid: Grid) -> None:
        """Take over the modules of `grid`; its A is negated in place."""
        super().__init__(
            grid.A,
            list(grid.B),
            list(grid.sigma_r),
            list(grid.sigma_u),
            share_B=grid.share_B,
            transfer=None,
            drop_path_rates=[0.0] * grid.nu,
        )
        self.drop_path = grid.drop_path
        _negate(self.A)
        self.A.requires_grad_(True)
        self.restriction = nn.Identity() if grid.transfer is None else Restriction(grid.transfer.R, grid.transfer.sigma_R)

    def forward(self, r: Tensor) -> Tensor:
        """Restrict, then iterate: every A is evaluated, the last one too, since the network reads r."""
        r = self.restriction(r)
        for i in range(self.nu):
            if self.grad_checkpointing and not is_scripting():
                s = recompute(self, self.correction, i, r)
            else:
                s = self.correction(i, r)
            r = r + self.A(s)  # (4.6)
        return r


class ModifiedPreActResNet(Network):
    """What `to_preact_resnet` returns: the features of its grids are the residuals r^{l,nu_l} of the MgNet.

    It has no classifier of its own; `reset_classifier(n)` gives it one that reads the last residual.
    """

    def __init__(self, mgnet: MgNet) -> None:
        """Take over the modules of `mgnet`, which is of no use afterwards."""
        c_f = mgnet.notation.c_f
        device_dtype = get_device_dtype(mgnet)
        super().__init__(
            ResidualStem(cast(Stem, mgnet.stem)),
            nn.Sequential(*(PreActGrid(cast(Grid, grid)) for grid in mgnet.grids)),
            ClassifierHead(c_f[-1], 0, **device_dtype),
            0,
            c_f,
            finest=mgnet.feature_info[0]["reduction"],
        )
        self.notation = mgnet.notation


def to_preact_resnet(mgnet: MgNet) -> ModifiedPreActResNet:
    """The modified pre-act ResNet with the same residuals on every grid as `mgnet`, which is not changed.

    Its intermediates are r^{l,nu_l} = f^l - A^l * u^{l,nu_l}; see the top of this file for what the theorem gives and
    what it does not. The mode (train, eval), device and dtype stay.
    """
    return ModifiedPreActResNet(copy.deepcopy(mgnet)).train(mgnet.training)


def to_mgnet(resnet: ModifiedPreActResNet, *, completed_by: MgNet) -> MgNet:
    """The MgNet with the residuals of `resnet`; Pi and the classifier, which no residual network has, from `completed_by`.

    Neither argument is changed. `to_mgnet(to_preact_resnet(m), completed_by=m)` equals m bit for bit. Raises ValueError
    when the two are of different notation.
    """
    if resnet.notation != completed_by.notation:
        raise ValueError(
            f"completed_by is {completed_by.notation}, the residual network comes from {resnet.notation}: "
            "they must be of one notation"
        )
    mgnet = copy.deepcopy(completed_by).train(resnet.training)
    mgnet.load_state_dict(_mgnet_state(resnet), strict=False)
    for grid in cast(Any, mgnet.grids):
        _negate(grid.A)
    return mgnet


def _mgnet_state(resnet: ModifiedPreActResNet) -> dict[str, Tensor]:
    """The tensors of the residual network under the names that a MgNet has for them."""
    renamed = {}
    for key, tensor in resnet.state_dict().items():
        if not key.startswith("head."):
            renamed[key.replace("stem.f_in.", "stem.").replace(".restriction.", ".transfer.")] = tensor
    return renamed


def _negate(A: nn.Module) -> None:
    with torch.no_grad():
        cast(nn.Conv2d, A).weight.neg_()
