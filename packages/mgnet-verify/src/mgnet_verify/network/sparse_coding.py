"""Res-CSC, MSD-CSC and ML-CSC as this project builds them: their tensors for the specification, and how these start."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from torch import nn

from mgnet_records.errors import InputError
from mgnet_verify.network.plain import layer_tensors
from mgnet_verify.network.protocol import InputLimits, array
from mgnet_verify.network.subject import Reading, SpecifiedFamily, Start, classifier_of, register
from mgnet_verify.specification.sigma import Sigma
from mgnet_verify.specification.sparse_coding import (
    CodingTensors,
    MlCscTensors,
    MsdCscTensors,
    PursuitTensors,
    ResCscBlockTensors,
    ResCscTensors,
    ml_csc,
    msd_csc,
    res_csc,
)


def _grids(model: nn.Module) -> list[Any]:
    return list(getattr(model, "grids", []))


# ---- Res-CSC ----


def _is_res_csc(model: nn.Module) -> bool:
    blocks = [block for stage in _grids(model) if isinstance(stage, nn.Sequential) for block in stage]
    return bool(blocks) and all(hasattr(block, "D1") and hasattr(block, "D2") for block in blocks)


def _read_res_csc(model: Any, reading: Reading) -> ResCscTensors:
    stem = layer_tensors(model.stem, "the stem", reading)
    return ResCscTensors(
        stem=stem,
        stages=tuple(
            tuple(
                _block(block, f"block {i + 1}, grid {stage + 1}", reading, stride=2 if stage > 0 and i == 0 else 1)
                for i, block in enumerate(blocks)
            )
            for stage, blocks in enumerate(model.grids)
        ),
        head=classifier_of(model),
    )


def _block(block: Any, place: str, reading: Reading, *, stride: int) -> ResCscBlockTensors:
    for act in (block.act_f, block.act_u):
        if not isinstance(act, nn.ReLU):
            raise InputError(f"the activation is {type(act).__name__}: the specification knows ReLU")

    def norms(name: str, first: nn.Module, further: Any) -> tuple[Sigma, ...]:
        """One for each step; a threshold is that of all steps."""
        modules = [first, *further] if len(further) > 0 else [first] * len(block.momentum)
        return tuple(reading.sigma(f"{name}, step {t}, {place}", module, relu=False) for t, module in enumerate(modules))

    return ResCscBlockTensors(
        D1=array(block.D1.weight),
        D2=array(block.D2.weight),
        c_f=None if block.c_f is None else array(block.c_f),
        c=array(block.c),
        norms_f=norms("f", block.norm_f, block.further_norms_f),
        norms_u=norms("u", block.norm_u, block.further_norms_u),
        momentum=tuple(map(float, block.momentum)),
        stride=stride,
        corrects=block.corrects,
    )


def _starts_of_res_csc(model: Any) -> Iterator[tuple[str, Start]]:
    """c starts at 1, or at 1/8 without normalization; D2 by Kaiming's rule for its 3x3 filters."""
    for stage, blocks in enumerate(model.grids):
        for i, block in enumerate(blocks):
            atoms = block.D2.weight.shape[0]
            for name in ("c",) if block.c_f is None else ("c", "c_f"):
                yield f"grids.{stage}.{i}.{name}", Start(value=1.0 if isinstance(block.norm_u, nn.BatchNorm2d) else 1 / 8)
            yield f"grids.{stage}.{i}.D2.weight", Start(deviation=math.sqrt(2 / (9 * atoms)))
    yield from _thresholds(model)


def _thresholds(model: nn.Module) -> Iterator[tuple[str, Start]]:
    """Every threshold starts at 0."""
    for name, _ in model.named_parameters():
        if name.endswith(".b"):
            yield name, Start(value=0.0)


def _limits_of_stages(model: Any) -> InputLimits:
    return InputLimits(channels=model.stem.theta.in_channels, smallest=2 ** (len(model.grids) - 1))


# ---- MSD-CSC and ML-CSC ----


def _is_pursuit(module: Any) -> bool:
    return hasattr(module, "layers") and hasattr(module, "pursue")


def _is_msd_csc(model: nn.Module) -> bool:
    grids = _grids(model)
    return bool(grids) and all(map(_is_pursuit, grids))


def _is_ml_csc(model: nn.Module) -> bool:
    grids = _grids(model)
    return bool(grids) and isinstance(grids[0], nn.Sequential) and _is_pursuit(grids[0][0])


def _read_msd_csc(model: Any, reading: Reading) -> MsdCscTensors:
    stem = layer_tensors(model.stem, "the stem", reading)
    blocks = tuple(
        _pursuit(grid, f"grid {number}", reading, dilations=model.dilations) for number, grid in enumerate(model.grids, start=1)
    )
    transitions = tuple(None if number == 0 else array(grid.transition[0].weight) for number, grid in enumerate(model.grids))
    return MsdCscTensors(stem=stem, blocks=blocks, transitions=transitions, head=classifier_of(model))


def _read_ml_csc(model: Any, reading: Reading) -> MlCscTensors:
    pursuit = _pursuit(model.grids[0][0], "the pursuit", reading, dilations=None)
    stages = tuple(
        tuple(layer_tensors(layer, f"layer {i + 1}, grid {number}", reading) for i, layer in enumerate(list(stage)[1:]))
        for number, stage in enumerate(model.grids, start=1)
    )
    return MlCscTensors(pursuit=pursuit, stages=stages, head=classifier_of(model, largest=True))


def _pursuit(pursuit: Any, place: str, reading: Reading, *, dilations: int | None) -> PursuitTensors:
    """With `dilations` a dense block, D = [I F^T] dilated by 1, 2 ... in turn; else ML-CSC's dictionaries of stride 2."""
    layers = tuple(
        _coding(layer, f"layer {i + 1}, {place}", reading, dilation=i % dilations + 1 if dilations else None)
        for i, layer in enumerate(pursuit.layers)
    )
    return PursuitTensors(
        layers=layers, unfold=pursuit.unfold, is_global=pursuit.is_global, momentum=tuple(map(float, pursuit.momentum))
    )


def _coding(layer: Any, place: str, reading: Reading, *, dilation: int | None) -> CodingTensors:
    if not isinstance(layer.act, nn.ReLU):
        raise InputError(f"the activation is {type(layer.act).__name__}: the specification knows ReLU")
    return CodingTensors(
        F=array(layer.D.weight),
        c=array(layer.c),
        b=array(layer.b),
        stride=2 if dilation is None else 1,
        dilation=dilation or 1,
        identity=dilation is not None,
        norms=tuple(reading.sigma(f"unfolding {t}, {place}", norm, relu=False) for t, norm in enumerate(layer.norms)),
        gain=None if layer.gain is None else array(layer.gain),
        kept=len(layer.b) - (0 if layer.gain is None else len(layer.gain)),
    )


def _starts_of_pursuits(model: Any) -> Iterator[tuple[str, Start]]:
    """Filters with deviation 0.1 / sqrt(fan-in), c = 1, no thresholds, gain 1."""
    for name, parameter in model.named_parameters():
        if name.endswith(".D.weight"):
            yield name, Start(deviation=0.1 / math.sqrt(parameter[0].numel()))
        elif name.endswith((".c", ".gain")):
            yield name, Start(value=1.0)
    yield from _thresholds(model)


def _limits_of_ml_csc(model: Any) -> InputLimits:
    """Filters of 4x4 at stride 2 are adjoint to their transposes on even sizes; the plain stages halve, too."""
    pursuit = model.grids[0][0]
    return InputLimits(channels=pursuit.layers[0].D.weight.shape[1], smallest=2 ** (len(pursuit.layers) + len(model.grids) - 1))


register(
    SpecifiedFamily(
        name="rescsc", matches=_is_res_csc, limits=_limits_of_stages, read=_read_res_csc, specify=res_csc, starts=_starts_of_res_csc
    )
)
register(
    SpecifiedFamily(
        name="msdcsc",
        matches=_is_msd_csc,
        limits=_limits_of_stages,
        read=_read_msd_csc,
        specify=msd_csc,
        starts=_starts_of_pursuits,
    )
)
register(
    SpecifiedFamily(
        name="mlcsc", matches=_is_ml_csc, limits=_limits_of_ml_csc, read=_read_ml_csc, specify=ml_csc, starts=_starts_of_pursuits
    )
)
