"""Parameters and multiply-adds of Res-CSC, MSD-CSC, ML-CSC and MSDNet by arithmetic.

A product with a dictionary or its transpose costs its weights for each pixel of the code. A pursuit takes one from zero, and
two for each unfolding and layer: D, then D^T.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from torch import nn

from mgnet_models.families.mlcsc import MlCsc
from mgnet_models.families.msdcsc import MsdCsc
from mgnet_models.families.msdnet import MsdNet
from mgnet_models.families.rescsc import ResCsc, Threshold
from mgnet_verify.counts.closed_form.mgnet import Entry, halved
from mgnet_verify.counts.closed_form.registry import Family, register

_RESCSC = re.compile(r"rescsc(20|32|44|56|110|218)")


def _stem(in_chans: int, channels: int, size: tuple[int, int], *, norm: int = 2) -> list[Entry]:
    theta = 9 * in_chans * channels
    return [
        Entry(grid=0, operator="theta", runs=1, macs=theta * size[0] * size[1], parameters=theta),
        Entry(grid=0, operator="sigma", runs=1, macs=0, parameters=norm * channels),
    ]


def _classifier(channels: int, num_classes: int) -> Entry:
    products = channels * num_classes
    return Entry(grid=0, operator="classifier", runs=1, macs=products, parameters=products + num_classes)


# ---- Res-CSC ----


@dataclass(frozen=True, kw_only=True)
class ResCscShape:
    """Blocks and channels of each stage; whether blocks have the term D2 u; unfoldings; thresholds in the place of BatchNorm."""

    blocks: tuple[int, ...]
    channels: tuple[int, ...]
    corrects: bool = True
    unfold: int = 0
    normalizes: bool = True


def _res_csc_of_name(name: str) -> ResCscShape | None:
    match = _RESCSC.fullmatch(name)
    return match and ResCscShape(blocks=((int(match[1]) - 2) // 6,) * 3, channels=(16, 32, 64))


def _res_csc_of_model(model: nn.Module) -> ResCscShape | None:
    if not isinstance(model, ResCsc):
        return None
    first: Any = next(model.grids[0].children())
    return ResCscShape(
        blocks=tuple(len(list(stage.children())) for stage in model.grids.children()),
        channels=tuple(info["num_chs"] for info in model.feature_info),
        corrects=first.corrects,
        unfold=len(first.momentum) - 1,
        normalizes=not isinstance(first.norm_u, Threshold),
    )


def _res_csc(shape: ResCscShape, *, in_chans: int, num_classes: int, size: tuple[int, int]) -> list[Entry]:
    """`D1` is what its module computes, D1^T; `D` what the blocks compute with weights: D1, D2^T and D2."""
    (h, w), c_in, T = size, shape.channels[0], shape.unfold
    # BatchNorm has weight and bias and is new in each step; a threshold is the layer's.
    norm = 2 * (1 + T) if shape.normalizes else 1
    entries = _stem(in_chans, c_in, size, norm=2 if shape.normalizes else 1)
    for grid, (n, c) in enumerate(zip(shape.blocks, shape.channels), start=1):
        h, w = (h, w) if grid == 1 else (halved(h), halved(w))
        pixels, first, second = h * w, 9 * (c_in * c + (n - 1) * c * c), 9 * n * c * c
        products_of_second = (1 + T) * (2 if shape.corrects else 1)
        entries += [
            Entry(grid=grid, operator="D1", runs=n * (1 + T), macs=(1 + T) * first * pixels, parameters=first),
            Entry(
                grid=grid,
                operator="D",
                runs=n * (products_of_second + T),
                macs=(products_of_second * second + T * first) * pixels,
                parameters=second,
            ),
            Entry(grid=grid, operator="sigma", runs=2 * n * (1 + T), macs=0, parameters=2 * n * norm * c),
            Entry(grid=grid, operator="c", runs=n, macs=0, parameters=n * (2 if T > 0 else 1)),
        ]
        c_in = c
    return [*entries, _classifier(c_in, num_classes)]


# ---- MSD-CSC and MSDNet ----


@dataclass(frozen=True, kw_only=True)
class MsdShape:
    """Blocks, layers of each, growth and channels of the stem; `normalized` says which coordinates of a code are normalized."""

    blocks: int = 3
    layers: int = 12
    growth: int = 12
    stem_channels: int = 16
    unfold: int = 1
    is_global: bool = False
    normalized: str = "new"

    def starts(self) -> list[int]:
        """Channels that each block begins with, and those of the last code."""
        return [self.stem_channels + self.growth * self.layers * block for block in range(self.blocks + 1)]

    def widths(self, start: int) -> list[int]:
        """Channels that each layer of a block reads."""
        return [start + self.growth * i for i in range(self.layers)]


def _grids(shape: MsdShape, size: tuple[int, int]) -> list[tuple[int, int, int, list[Entry]]]:
    """Grid, its first channels, its pixels, and its 1x1 convolution on the finer pixels, after which a max-pool rounds down."""
    h, w = size
    found = []
    for grid, c in enumerate(shape.starts()[:-1], start=1):
        transition = []
        if grid > 1:
            transition = [Entry(grid=grid, operator="transition", runs=1, macs=c * c * h * w, parameters=c * c)]
            h, w = h // 2, w // 2
        found.append((grid, c, h * w, transition))
    return found


def _msd_csc_of_model(model: nn.Module) -> MsdShape | None:
    if not isinstance(model, MsdCsc):
        return None
    grids: list[Any] = list(model.grids.children())
    layer = grids[0].layers[0]
    gain = 0 if layer.gain is None else len(layer.gain)
    return MsdShape(
        blocks=len(grids),
        layers=len(grids[0].layers),
        growth=layer.D.atoms,
        stem_channels=len(layer.b) - layer.D.atoms,
        unfold=grids[0].unfold,
        is_global=grids[0].is_global,
        normalized="none" if gain == 0 else "new" if gain == layer.D.atoms else "all",
    )


def _msd_csc(shape: MsdShape, *, in_chans: int, num_classes: int, size: tuple[int, int]) -> list[Entry]:
    """Multi-layer pursuit rebuilds each code but the deepest from the one below it, once more for each unfolding."""
    k, T = shape.growth, shape.unfold
    entries = _stem(in_chans, shape.stem_channels, size)
    for grid, start, pixels, transition in _grids(shape, size):
        widths = shape.widths(start)
        products = sum((1 + 2 * T + (T if shape.is_global and i > 0 else 0)) * 9 * c * k for i, c in enumerate(widths))
        weights = sum(9 * c * k for c in widths)
        gain = {"new": k * shape.layers, "all": sum(c + k for c in widths), "none": 0}[shape.normalized]
        steps, thresholds = shape.layers, sum(c + k for c in widths)
        entries += transition
        entries.append(Entry(grid=grid, operator="D", runs=shape.layers, macs=products * pixels, parameters=weights))
        entries.append(Entry(grid=grid, operator="sigma", runs=shape.layers, macs=0, parameters=steps + thresholds + gain))
    return [*entries, _classifier(shape.starts()[-1], num_classes)]


def _msd_net_of_model(model: nn.Module) -> MsdShape | None:
    if not isinstance(model, MsdNet):
        return None
    stages: list[Any] = [list(stage.children()) for stage in model.grids.children()]
    filters = stages[0][0].F
    return MsdShape(
        blocks=len(stages), layers=len(stages[0]), growth=filters.out_channels, stem_channels=filters.in_channels, unfold=0
    )


def _msd_net(shape: MsdShape, *, in_chans: int, num_classes: int, size: tuple[int, int]) -> list[Entry]:
    k = shape.growth
    entries = _stem(in_chans, shape.stem_channels, size)
    for grid, start, pixels, transition in _grids(shape, size):
        weights = sum(9 * c * k for c in shape.widths(start))
        entries += transition
        entries.append(Entry(grid=grid, operator="F", runs=shape.layers, macs=weights * pixels, parameters=weights))
        entries.append(Entry(grid=grid, operator="sigma", runs=shape.layers, macs=0, parameters=2 * k * shape.layers))
    return [*entries, _classifier(shape.starts()[-1], num_classes)]


# ---- ML-CSC ----


@dataclass(frozen=True, kw_only=True)
class MlCscShape:
    """Atoms of each dictionary, widths of the plain convolutions stage by stage, unfoldings."""

    coding: tuple[int, ...] = (32, 64, 128)
    plain: tuple[tuple[int, ...], ...] = ((256, 512), (512,))
    unfold: int = 1
    is_global: bool = False


def _ml_csc_of_model(model: nn.Module) -> MlCscShape | None:
    if not isinstance(model, MlCsc):
        return None
    stages: list[Any] = [list(stage.children()) for stage in model.grids.children()]
    pursuit = stages[0][0]
    return MlCscShape(
        coding=tuple(layer.D.atoms for layer in pursuit.layers),
        plain=tuple(tuple(layer.conv.out_channels for layer in stage[1:]) for stage in stages),
        unfold=pursuit.unfold,
        is_global=pursuit.is_global,
    )


def _ml_csc(shape: MlCscShape, *, in_chans: int, num_classes: int, size: tuple[int, int]) -> list[Entry]:
    """4x4 dictionaries at stride 2, then 3x3 convolutions with bias; the max-pool before a later stage rounds down."""
    (h, w), T, macs, weights = size, shape.unfold, 0, 0
    for i, (c_in, c) in enumerate(pairwise((in_chans, *shape.coding))):
        h, w = h // 2, w // 2
        products = 1 + 2 * T + (T if shape.is_global and i > 0 else 0)
        macs += products * 16 * c_in * c * h * w
        weights += 16 * c_in * c
    entries = [
        Entry(grid=1, operator="D", runs=len(shape.coding), macs=macs, parameters=weights),
        Entry(grid=1, operator="sigma", runs=len(shape.coding), macs=0, parameters=len(shape.coding) + sum(shape.coding)),
    ]
    c_in = shape.coding[-1]
    for grid, widths in enumerate(shape.plain, start=1):
        h, w = (h, w) if grid == 1 else (h // 2, w // 2)
        products = sum(9 * a * b for a, b in pairwise((c_in, *widths)))
        entries.append(
            Entry(grid=grid, operator="conv", runs=len(widths), macs=products * h * w, parameters=products + sum(widths))
        )
        c_in = widths[-1]
    return [*entries, _classifier(c_in, num_classes)]


register(Family(name="rescsc", of_name=_res_csc_of_name, of_model=_res_csc_of_model, table=_res_csc, outside="D"))
register(
    Family(
        name="msdcsc",
        of_name=lambda name: MsdShape() if name == "msdcsc40_k12" else None,
        of_model=_msd_csc_of_model,
        table=_msd_csc,
        outside="D",
    )
)
register(
    Family(
        name="msdnet",
        of_name=lambda name: MsdShape(unfold=0) if name == "msdnet40_k12" else None,
        of_model=_msd_net_of_model,
        table=_msd_net,
    )
)
register(
    Family(
        name="mlcsc",
        of_name=lambda name: MlCscShape() if name == "mlcsc" else None,
        of_model=_ml_csc_of_model,
        table=_ml_csc,
        outside="D",
    )
)
