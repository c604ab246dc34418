"""Parameters and multiply-adds of plain networks by arithmetic: a stem, then stages of 3x3 convolutions with BatchNorm."""

from __future__ import annotations

import re
from dataclasses import dataclass

from torch import nn

from mgnet_models.families.plain import Plain
from mgnet_verify.counts.closed_form.mgnet import Entry, halved
from mgnet_verify.counts.closed_form.registry import Family, register

_NAME = re.compile(r"plain(20|56)")


@dataclass(frozen=True, kw_only=True)
class PlainShape:
    """Convolutions and channels of each stage."""

    convolutions: tuple[int, ...]
    channels: tuple[int, ...]


def of_name(name: str) -> PlainShape | None:
    """The shape of a name: depth 6n + 2 has 2n convolutions on each of three stages."""
    match = _NAME.fullmatch(name)
    return match and PlainShape(convolutions=((int(match[1]) - 2) // 3,) * 3, channels=(16, 32, 64))


def of_model(model: nn.Module) -> PlainShape | None:
    """The shape of a built network."""
    if not isinstance(model, Plain):
        return None
    channels = tuple(info["num_chs"] for info in model.feature_info)
    return PlainShape(convolutions=tuple(len(list(stage.children())) for stage in model.grids), channels=channels)


def table(shape: PlainShape, *, in_chans: int, num_classes: int, size: tuple[int, int]) -> list[Entry]:
    """Every operator of every stage on one image (height, width); the names are those of the modules."""
    (h, w), c_in = size, shape.channels[0]
    theta = 9 * in_chans * c_in
    entries = [
        Entry(grid=0, operator="theta", runs=1, macs=theta * h * w, parameters=theta),
        Entry(grid=0, operator="sigma", runs=1, macs=0, parameters=2 * c_in),
    ]
    for grid, (n, c) in enumerate(zip(shape.convolutions, shape.channels), start=1):
        h, w = (h, w) if grid == 1 else (halved(h), halved(w))  # the first convolution has the stride: all see the small image
        weights = 9 * c_in * c + (n - 1) * 9 * c * c
        entries.append(Entry(grid=grid, operator="conv", runs=n, macs=weights * h * w, parameters=weights))
        entries.append(Entry(grid=grid, operator="sigma", runs=n, macs=0, parameters=2 * n * c))
        c_in = c
    products = c_in * num_classes
    return [*entries, Entry(grid=0, operator="classifier", runs=1, macs=products, parameters=products + num_classes)]


register(Family(name="plain", of_name=of_name, of_model=of_model, table=table))
