"""The networks beside MgNet, ResNet, pre-act ResNet and GDFI as this project builds them, as tensors of the specification."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import nn

from mgnet_verify.parts import GridParts, Parts, TransferParts, array, sigma_of, tensors_of
from mgnet_verify.specification import NetTensors, Sigma
from mgnet_verify.specification.algorithm1 import BlockTensors, ResNetTensors
from mgnet_verify.specification.algorithm3 import MapTensors


def is_resnet(model: nn.Module) -> bool:
    """Whether the network has the blocks of `mgnet_models.MgResNet`, in the reading of B^{l,0} that the counts ask for."""
    grids = list(getattr(model, "grids", []))
    return bool(grids) and all(hasattr(grid, "block") and getattr(grid, "stride_B", 2) in (0, 2) for grid in grids)


def is_gdfi(model: nn.Module) -> bool:
    """Whether the network is a scheme of `mgnet_models.GDFI`."""
    return hasattr(model, "notation") and hasattr(model, "grids") and not hasattr(model, "forward_literal")


def normalisation_alone(module: nn.Module) -> Sigma:
    """A BatchNorm without ReLU, or the identity."""
    return Sigma(normalisation=None if isinstance(module, nn.Identity) else sigma_of(module).normalisation, relu=False)


def resnet_tensors(model: Any) -> ResNetTensors:
    """The tensors of a (pre-act) ResNet; whether A and B are shared is read from its lists."""
    preact = not isinstance(model.norm, nn.Identity)
    fc = model.head.fc
    return ResNetTensors(
        theta=array(model.stem.theta.weight),
        sigma_f=sigma_of(model.stem.sigma),
        imagenet=isinstance(model.stem.R_max, nn.MaxPool2d),
        preact=preact,
        grids=tuple(tuple(_block(grid, i) for i in range(grid.nu)) for grid in model.grids),
        sigma_end=sigma_of(model.norm) if preact else Sigma(relu=False),
        weight=array(fc.weight),
        bias=np.zeros(fc.out_features) if fc.bias is None else array(fc.bias),
    )


def _block(grid: Any, i: int) -> BlockTensors:
    pools = grid.pooling and i == 0
    return BlockTensors(
        A=array(grid.A[0 if len(grid.A) == 1 else i].weight),
        B=array(grid.B[0 if len(grid.B) == 1 else i].weight),
        sigma_r=sigma_of(grid.sigma_r[i]),
        sigma_u=sigma_of(grid.sigma_u[i]),
        sigma_A=normalisation_alone(grid.norm_A[i]),
        R=array(grid.R.weight) if pools else None,
        sigma_R=normalisation_alone(grid.norm_R),
        lift=array(grid.B_pool.weight) if pools and not isinstance(grid.B_pool, nn.Identity) else None,
    )


def gdfi_tensors(model: Any) -> tuple[NetTensors, tuple[MapTensors, ...]]:
    """The tensors of a GDFI and the sigmas around its A, identities for a linear A."""
    maps = tuple(_maps(grid) for grid in model.grids)
    return tensors_of(gdfi_parts(model)), maps


def _maps(grid: Any) -> MapTensors:
    if not hasattr(grid, "sigma_A_before"):
        identities = (Sigma(relu=False),) * (grid.nu + 1)
        return MapTensors(A_before=identities, A_after=identities)
    return MapTensors(A_before=tuple(map(sigma_of, grid.sigma_A_before)), A_after=tuple(map(sigma_of, grid.sigma_A_after)))


def gdfi_parts(model: Any) -> Parts:
    """The parts of a GDFI but for the sigmas around A."""
    return Parts(
        theta=model.stem.theta,
        sigma_f=model.stem.sigma,
        imagenet=isinstance(model.stem.R_max, nn.MaxPool2d),
        grids=tuple(_gdfi_grid(grid, nu, model.notation.share_B) for grid, nu in zip(model.grids, model.notation.nu)),
        head=model.head,
        classifier=model.head.fc,
        forms={"forward": model.forward},
    )


def _gdfi_grid(grid: Any, nu: int, share_B: bool) -> GridParts:
    transfer = grid.transfer
    return GridParts(
        A=grid.A,
        B=tuple(grid.B[0 if share_B else i] for i in range(nu)),
        sigma_r=tuple(grid.sigma_r),
        sigma_u=tuple(grid.sigma_u),
        transfer=None
        if transfer is None
        else TransferParts(Pi=transfer.Pi, R=transfer.R, sigma_Pi=transfer.sigma_Pi, sigma_R=transfer.sigma_R),
    )
