"""The protocol by which a model takes part: it names its parts, and the verifier reads their weights and watches them.

A network built like `mgnet_models.MgNet` is understood as it is. Any other network defines

    def mgnet_parts(self) -> mgnet_verify.Parts

which returns the modules of Algorithm 2 *from its configuration* (one B an iteration, the same module repeated when it
is shared). The specification uses their tensors only: shapes, padding, strides and order of execution are its own, so a
network that runs its parts differently is found out. A normalisation is named by its BatchNorm2d, with or without the
ReLU inside; the specification applies ReLU after it. `nn.ReLU` stands for sigma without normalisation, `nn.Identity` for
no sigma at all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor, nn

from mgnet_verify.errors import UserError
from mgnet_verify.specification import (
    Array,
    GridTensors,
    NetTensors,
    Normalisation,
    Sigma,
    TransferTensors,
)

Forward = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True, eq=False)
class TransferParts:
    """The modules that lead into a coarse grid: Pi and R (convolutions at stride 2) and what follows each."""

    Pi: nn.Conv2d
    R: nn.Conv2d
    sigma_Pi: nn.Module
    sigma_R: nn.Module


@dataclass(frozen=True, kw_only=True, eq=False)
class GridParts:
    """The modules of one grid: A, and for each iteration B, the sigma on r and the sigma on B's output."""

    A: nn.Conv2d
    B: tuple[nn.Conv2d, ...]
    sigma_r: tuple[nn.Module, ...]
    sigma_u: tuple[nn.Module, ...]
    transfer: TransferParts | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Parts:
    """The modules of a MgNet. `forms` maps a name to a function image -> logits; each is checked. `head` receives u^J.

    `follows_order` says that the forms named "literal" and "residual" evaluate A exactly as often and in the order that
    Algorithm 2 and its dual do; it is checked for those, and not asked of a network that keeps A u for later use.
    """

    theta: nn.Conv2d
    sigma_f: nn.Module
    imagenet: bool
    grids: tuple[GridParts, ...]
    head: nn.Module
    classifier: nn.Linear
    forms: dict[str, Forward] = field(default_factory=dict)
    follows_order: bool = False


def parts_of(model: nn.Module) -> Parts:
    """The parts of `model`; UserError if it neither names them nor is built like MgNet."""
    named: Callable[[], Any] | None = getattr(model, "mgnet_parts", None)
    if named is not None:
        parts = named()
        if not isinstance(parts, Parts):
            raise UserError(f"{type(model).__name__}.mgnet_parts() returned {type(parts).__name__}: return mgnet_verify.Parts")
        return parts
    if not all(hasattr(model, name) for name in ("notation", "stem", "grids", "head", "forward_literal")):
        raise UserError(f"{type(model).__name__} does not name its parts: define mgnet_parts(), see mgnet_verify.network.protocol")
    return _parts_of_mgnet(model)


def _parts_of_mgnet(model: Any) -> Parts:
    """Read by name; which B belongs to which iteration comes from the notation, not from the model."""
    notation = model.notation
    if len(model.grids) != len(notation.nu):
        raise UserError(f"{len(model.grids)} grids in the model, {len(notation.nu)} in {notation}: they must agree")
    grids = tuple(_parts_of_grid(grid, nu, notation.share_B) for grid, nu in zip(model.grids, notation.nu))
    return Parts(
        theta=model.stem.theta,
        sigma_f=model.stem.sigma,
        imagenet=model.stem_kind == "imagenet",
        grids=grids,
        head=model.head,
        classifier=model.head.fc,
        forms={"residual": model.forward, "literal": model.forward_literal},
        follows_order=True,
    )


def _parts_of_grid(grid: Any, nu: int, share_B: bool) -> GridParts:
    transfer = grid.transfer
    return GridParts(
        A=grid.A,
        B=tuple(grid.B[0 if share_B else i] for i in range(nu)),
        sigma_r=tuple(grid.sigma_r[i] for i in range(nu)),
        sigma_u=tuple(grid.sigma_u[i] for i in range(nu)),
        transfer=transfer and TransferParts(Pi=transfer.Pi, R=transfer.R, sigma_Pi=transfer.sigma_Pi, sigma_R=transfer.sigma_R),
    )


def tensors_of(parts: Parts) -> NetTensors:
    """The weights as numpy arrays, converted exactly: every float32 and bfloat16 is a float64."""
    fc = parts.classifier
    return NetTensors(
        theta=array(parts.theta.weight),
        sigma_f=sigma_of(parts.sigma_f),
        imagenet=parts.imagenet,
        grids=tuple(_tensors_of_grid(grid) for grid in parts.grids),
        weight=array(fc.weight),
        bias=np.zeros(fc.out_features) if fc.bias is None else array(fc.bias),
    )


def _tensors_of_grid(grid: GridParts) -> GridTensors:
    return GridTensors(
        A=array(grid.A.weight),
        B=tuple(array(B.weight) for B in grid.B),
        sigma_r=tuple(sigma_of(sigma) for sigma in grid.sigma_r),
        sigma_u=tuple(sigma_of(sigma) for sigma in grid.sigma_u),
        transfer=None if grid.transfer is None else _tensors_of_transfer(grid.transfer),
    )


def _tensors_of_transfer(transfer: TransferParts) -> TransferTensors:
    return TransferTensors(
        Pi=array(transfer.Pi.weight),
        R=array(transfer.R.weight),
        sigma_Pi=sigma_of(transfer.sigma_Pi),
        sigma_R=sigma_of(transfer.sigma_R),
    )


def sigma_of(module: nn.Module) -> Sigma:
    """The sigma that a module stands for; UserError when it is neither BatchNorm, ReLU nor the identity."""
    if isinstance(module, nn.Identity):
        return Sigma(relu=False)
    if isinstance(module, nn.ReLU):
        return Sigma()
    if not isinstance(module, nn.BatchNorm2d) or not isinstance(getattr(module, "act", nn.ReLU()), nn.ReLU):
        raise UserError(f"sigma is {_described(module)}: the specification knows BatchNorm2d with ReLU, ReLU, Identity")
    if module.running_mean is None or module.running_var is None:
        raise UserError("sigma has no running statistics: the specification needs track_running_stats=True")
    ones = np.ones(module.num_features)
    return Sigma(
        normalisation=Normalisation(
            weight=ones if module.weight is None else array(module.weight),
            bias=0 * ones if module.bias is None else array(module.bias),
            mean=array(module.running_mean),
            variance=array(module.running_var),
            eps=module.eps,
            momentum=0.1 if module.momentum is None else module.momentum,
        )
    )


def array(tensor: Tensor) -> Array:
    """A tensor as a float64 array of its own memory."""
    return tensor.detach().double().cpu().numpy().copy()


def _described(module: nn.Module) -> str:
    act = getattr(module, "act", None)
    return f"{type(module).__name__} with {type(act).__name__}" if act is not None else type(module).__name__
