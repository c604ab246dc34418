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
from collections.abc import Iterable
from typing import cast

import torch
from timm.layers import ClassifierHead, get_device_dtype
from torch import Tensor, nn

from mgnet_models.mgnet.grid import Grid
from mgnet_models.mgnet.model import MgNet
from mgnet_models.mgnet.stem import Stem
from mgnet_models.nn.classifier import Network


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


class NegatedConv2d(nn.Conv2d):
    """-K * x for the kernel K that it holds. Negating is exact, in the weights as in the result."""

    def forward(self, x: Tensor) -> Tensor:
        """The negated convolution, (b, c_u, h, w) -> (b, c_f, h, w)."""
        return self._conv_forward(x, -self.weight, None)


class PreActGrid(nn.Module):
    """One grid of the modified pre-act ResNet: r (b, c_f, h, w) by the steps of a MgNet, of which u is not carried.

    Its A is that of (4.6), -A of the MgNet, so that r - (-A) * s of (4.5) is r + A * s.
    """

    def __init__(self, grid: Grid) -> None:
        """Take over `grid`; its A is negated in place. Raises ValueError for an A that is no plain Conv2d without bias."""
        super().__init__()
        self.restriction = nn.Identity() if grid.transfer is None else Restriction(grid.transfer.R, grid.transfer.sigma_R)
        self.grid = grid
        grid.transfer = None
        grid.A = _negated(grid.A)
        if grid.last and grid.nu == 1:
            grid.A.requires_grad_(True)  # a MgNet does not read it
        grid.last = False  # every A is evaluated, the last one too, since the network reads r

    def forward(self, r: Tensor) -> Tensor:
        """Restrict r of the finer grid, then iterate."""
        r = self.restriction(r)
        for i in range(self.grid.nu):
            _, r = self.grid.residual_step(i, r)  # (4.6)
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
            in_chans=mgnet.in_chans,
            num_classes=0,
            channels=c_f,
            finest=mgnet.feature_info[0]["reduction"],
        )
        self.notation = mgnet.notation


def to_preact_resnet(mgnet: MgNet) -> ModifiedPreActResNet:
    """The modified pre-act ResNet with the same residuals on every grid as `mgnet`, which is not changed.

    Its intermediates are r^{l,nu_l} = f^l - A^l * u^{l,nu_l}; see the top of this file for what the theorem gives and
    what it does not. The mode (train, eval), device and dtype stay. Raises ValueError for an A that is no plain nn.Conv2d
    without bias, and for a weight that is computed at each call (pruned).
    """
    for name, module in mgnet.named_modules():
        if "forward" in vars(module) or any(isinstance(value, Tensor) for value in vars(module).values()):
            raise ValueError(
                f"{name} has a weight or a forward method that was replaced (pruned?): make it permanent, with "
                "torch.nn.utils.prune.remove for instance, then convert"
            )
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
    with torch.no_grad():
        for grid in cast(Iterable[Grid], mgnet.grids):
            grid.A.weight.neg_()
    return mgnet


def _mgnet_state(resnet: ModifiedPreActResNet) -> dict[str, Tensor]:
    """The tensors of the residual network under the names that a MgNet has for them."""
    renamed = {}
    for key, tensor in resnet.state_dict().items():
        if not key.startswith("head."):
            renamed[key.replace("stem.f_in.", "stem.").replace(".restriction.", ".transfer.").replace(".grid.", ".")] = tensor
    return renamed


def _negated(A: nn.Module) -> NegatedConv2d:
    """A with the other sign, on the same parameter, which is negated in place."""
    is_plain = type(A).__module__.startswith(("torch.nn.", "mgnet_models.")) and "weight" in A._parameters
    hooks = A._forward_hooks or A._forward_pre_hooks or A._backward_hooks or A._backward_pre_hooks
    if (
        not isinstance(A, nn.Conv2d)
        or not is_plain
        or A.bias is not None
        or A.padding_mode != "zeros"
        or A.dilation != (1, 1)
        or hooks
    ):
        kind = "a Conv2d with bias, hooks, dilation or other padding" if is_plain else f"a {type(A).__name__}"
        raise ValueError(f"A is {kind}, whose sign cannot be changed: give a network whose A are nn.Conv2d as they were built")
    negated = NegatedConv2d(A.in_channels, A.out_channels, 3, padding=1, bias=False, device="meta")
    negated.weight = A.weight
    with torch.no_grad():
        negated.weight.neg_()
    return negated
