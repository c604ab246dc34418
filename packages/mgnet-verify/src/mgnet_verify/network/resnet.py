"""ResNet and pre-act ResNet as this project builds them: their tensors for Algorithm 1, and the arguments of their counts."""

from __future__ import annotations

from typing import Any

from torch import nn

from mgnet_records.errors import InputError
from mgnet_verify.counts.closed_form.resnet import INTERPRETATIONS, Interpretation, PoolingB, ResNetShape
from mgnet_verify.network.protocol import InputLimits, array
from mgnet_verify.network.subject import Reading, SpecifiedFamily, classifier_of, register
from mgnet_verify.specification import Array, Sigma
from mgnet_verify.specification.algorithm1 import BlockTensors, ResNetTensors, algorithm_1


def is_resnet(model: nn.Module) -> bool:
    """Whether the network has the blocks of `mgnet_models.MgResNet`."""
    grids = list(getattr(model, "grids", []))
    return bool(grids) and all(hasattr(grid, "block") for grid in grids)


def _read(model: Any, reading: Reading) -> ResNetTensors:
    """The tensors of a (pre-act) ResNet; whether A and B are shared is read from its lists."""
    preact = not isinstance(model.norm, nn.Identity)
    sigma_f = reading.sigma("f", model.stem.sigma)
    grids = tuple(
        tuple(_block(grid, i, f"block {i + 1}, grid {number}", reading) for i in range(grid.nu))
        for number, grid in enumerate(model.grids, start=1)
    )
    return ResNetTensors(
        theta=array(model.stem.theta.weight),
        sigma_f=sigma_f,
        imagenet=isinstance(model.stem.R_max, nn.MaxPool2d),
        preact=preact,
        grids=grids,
        sigma_end=reading.sigma("the end", model.norm) if preact else Sigma(relu=False),
        head=classifier_of(model),
    )


def _block(grid: Any, i: int, place: str, reading: Reading) -> BlockTensors:
    pools = grid.pooling and i == 0
    return BlockTensors(
        A=array(grid.A[0 if len(grid.A) == 1 else i].weight),
        B=_smoother(grid, i),
        sigma_r=reading.sigma(f"r, {place}", grid.sigma_r[i]),
        sigma_u=reading.sigma(f"u, {place}", grid.sigma_u[i]),
        sigma_A=reading.sigma(f"A, {place}", grid.norm_A[i], relu=False),
        R=array(grid.R.weight) if pools else None,
        sigma_R=reading.sigma(f"R, {place}", grid.norm_R, relu=False) if pools else Sigma(relu=False),
    )


def _smoother(grid: Any, i: int) -> tuple[tuple[Array, int], ...]:
    pools = grid.pooling and i == 0
    if not (pools and grid.share_B):
        return ((array(grid.B[0 if grid.share_B else i].weight), 2 if pools else 1),)
    interpretation = INTERPRETATIONS[interpretation_of(grid)]
    own = (array(grid.B_pool.weight), interpretation.stride)
    return (own,) if interpretation.stride_B is None else (own, (array(grid.B[0].weight), interpretation.stride_B))


def interpretation_of(grid: Any) -> PoolingB:
    """The interpretation of B^{l,0} that a coarse grid with shared B follows. Raises InputError for an unknown one."""
    own = grid.B_pool
    seen = Interpretation(kernel=own.kernel_size[0], stride=own.stride[0], stride_B=grid.stride_B or None)
    for name, known in INTERPRETATIONS.items():
        if known == seen:
            return name
    raise InputError(f"unknown interpretation of B^{{l,0}}, {seen}: build the network with pooling_B={', '.join(INTERPRETATIONS)}")


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
        pooling_B=interpretation_of(shared_coarse[0]) if shared_coarse else "lift_s1",
    )


def _limits(model: Any) -> InputLimits:
    return InputLimits.of(grids=len(model.grids), stem=model.stem.theta, imagenet=isinstance(model.stem.R_max, nn.MaxPool2d))


register(SpecifiedFamily(name="resnet", matches=is_resnet, limits=_limits, read=_read, specify=algorithm_1))
