"""The networks beside MgNet, ResNet, pre-act ResNet and GDFI as this project builds them, as tensors of the specification."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import nn

from mgnet_models.nn.layers import MapForm
from mgnet_models.notation import StemKind
from mgnet_verify.counts.closed_form import gdfi as closed_form_gdfi
from mgnet_verify.counts.closed_form import resnet as closed_form_resnet
from mgnet_verify.counts.closed_form.mgnet import Entry, Shape
from mgnet_verify.counts.closed_form.resnet import READINGS, PoolingB, Reading, ResNetShape
from mgnet_verify.errors import UserError
from mgnet_verify.network.protocol import GridParts, Parts, TransferParts, array, sigma_of, tensors_of
from mgnet_verify.specification import Array, NetTensors, Sigma
from mgnet_verify.specification.algorithm1 import BlockTensors, ResNetTensors
from mgnet_verify.specification.algorithm3 import MapTensors


def is_resnet(model: nn.Module) -> bool:
    """Whether the network has the blocks of `mgnet_models.MgResNet`."""
    grids = list(getattr(model, "grids", []))
    return bool(grids) and all(hasattr(grid, "block") for grid in grids)


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
        B=_smoother(grid, i),
        sigma_r=sigma_of(grid.sigma_r[i]),
        sigma_u=sigma_of(grid.sigma_u[i]),
        sigma_A=normalisation_alone(grid.norm_A[i]),
        R=array(grid.R.weight) if pools else None,
        sigma_R=normalisation_alone(grid.norm_R),
    )


def _smoother(grid: Any, i: int) -> tuple[tuple[Array, int], ...]:
    pools = grid.pooling and i == 0
    if not (pools and grid.share_B):
        return ((array(grid.B[0 if grid.share_B else i].weight), 2 if pools else 1),)
    reading = READINGS[reading_of(grid)]
    own = (array(grid.B_pool.weight), reading.stride)
    return (own,) if reading.stride_B is None else (own, (array(grid.B[0].weight), reading.stride_B))


def reading_of(grid: Any) -> PoolingB:
    """Which reading of B^{l,0} a coarse grid with shared B follows; UserError for one that the specification does not know."""
    own = grid.B_pool
    seen = Reading(kernel=own.kernel_size[0], stride=own.stride[0], stride_B=grid.stride_B or None)
    known = next((name for name, reading in READINGS.items() if reading == seen), None)
    if known is None:
        raise UserError(f"B^{{l,0}} is read as {seen}, which the specification does not know: use pooling_B={', '.join(READINGS)}")
    return known


def resnet_shape(model: Any) -> ResNetShape:
    """The arguments of the closed forms, read off the network."""
    grids = list(model.grids)
    shared_coarse = [grid for grid in grids if grid.pooling and grid.share_B]
    return ResNetShape(
        blocks=tuple(grid.nu for grid in grids),
        channels=tuple(grid.A[0].out_channels for grid in grids),
        share_A=all(grid.share_A for grid in grids),
        share_B=all(grid.share_B for grid in grids),
        preact=not isinstance(model.norm, nn.Identity),
        imagenet=isinstance(model.stem.R_max, nn.MaxPool2d),
        pooling_B=reading_of(shared_coarse[0]) if shared_coarse else "lift_s1",
    )


def resnet_table(model: Any, size: tuple[int, int]) -> list[Entry]:
    """The closed forms of a (pre-act) ResNet on one image of `size`, operator by operator."""
    in_chans, num_classes = model.stem.theta.in_channels, int(model.num_classes)
    return closed_form_resnet.table(resnet_shape(model), in_chans=in_chans, num_classes=num_classes, size=size)


def gdfi_table(model: Any, size: tuple[int, int]) -> list[Entry]:
    """The closed forms of a GDFI on one image of `size`, operator by operator."""
    stem: StemKind = "imagenet" if isinstance(model.stem.R_max, nn.MaxPool2d) else "cifar"
    shape = Shape(in_chans=model.stem.theta.in_channels, num_classes=int(model.num_classes), stem=stem)
    form_A = _form(model.grids[0], "sigma_A_before", "sigma_A_after")
    form_B = _form(model.grids[0], "sigma_r", "sigma_u")
    return closed_form_gdfi.table(model.notation, form_A, form_B, shape, size=size)


def _form(grid: Any, before: str, after: str) -> MapForm:
    """Which of the forms (4.15) stands around a kernel."""
    sigmas = [not isinstance(next(iter(getattr(grid, name, [])), nn.Identity()), nn.Identity) for name in (before, after)]
    forms: dict[tuple[bool, ...], MapForm] = {
        (False, False): "lin",
        (True, False): "pre",
        (False, True): "post",
        (True, True): "both",
    }
    return forms[tuple(sigmas)]


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
