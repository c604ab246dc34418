"""Counts of one network three ways, multiply-adds by grid and operator: closed form, torch, fvcore."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from torch import nn

from mgnet_models.notation import check_image_size
from mgnet_records.certificate import ParameterCounts
from mgnet_records.errors import InputError
from mgnet_verify.counts import measured
from mgnet_verify.counts.closed_form import gdfi, mgnet, resnet
from mgnet_verify.counts.closed_form.mgnet import CONVENTION, Entry, Form
from mgnet_verify.counts.closed_form.registry import outside_of_modules, registered_families, table_of_model
from mgnet_verify.model_spec import ModelSpec
from mgnet_verify.network import families  # noqa: F401, registers them
from mgnet_verify.network.gdfi import gdfi_shape, is_gdfi, map_forms
from mgnet_verify.network.protocol import InputLimits, shape_of, view_of
from mgnet_verify.network.resnet import is_resnet, resnet_shape
from mgnet_verify.network.subject import is_specified, limits_of

Place = tuple[int, str]

# The operators by the names of their modules: the last part that is no number.
_PLACES = {"stem.theta": (0, "theta"), "head.fc": (0, "classifier")}
_IN_A_GRID = re.compile(r"grids\.(?P<grid>\d+)(\.transfer|\.\d+)?(\.(?P<operator>[A-Za-z_]\w*)(\.\d+)?)?")
_SHOWN = {"B_pool": "B^{l,0}"}


@dataclass(frozen=True, kw_only=True)
class OperatorCount:
    """One operator on one grid: the closed form's entry beside the multiply-adds that torch and fvcore count."""

    entry: Entry
    torch: int
    fvcore: int

    @property
    def agrees(self) -> bool:
        """Whether the three are one number."""
        return self.entry.macs == self.torch == self.fvcore


@dataclass(frozen=True, kw_only=True)
class Counts:
    """All counts of one network on one image (channels, height, width), the operators apart for each form it has."""

    image: tuple[int, int, int]
    parameters: ParameterCounts
    forms: dict[str, list[OperatorCount]]

    @property
    def agree(self) -> bool:
        """Whether closed form, torch and fvcore agree everywhere."""
        parameters = self.parameters
        same = parameters.closed_form == parameters.torch == parameters.fvcore
        return same and all(row.agrees for rows in self.forms.values() for row in rows)


def counts(spec: ModelSpec, image: tuple[int, int] | None = None) -> Counts:
    """Count a network with a closed form on one image (height, width), by default of its data set's size.

    Raises InputError for a network without a closed form and for an image too small for its grids.
    """
    model, size = spec.model, image or default_image(spec.model)
    tables = closed_forms(model, size)
    if tables is None:
        known = "the families are MgNet, mgresnet, mgpreactresnet and GDFI"
        raise InputError(f"no closed form for {spec.name!r}: {known}, beside them {', '.join(registered_families())}")
    limits = limits_of(model) if is_specified(model) else _limits_of_features(model)
    shape, small = (limits.channels, *size), measured_image(size, limits.smallest)
    methods = measured.METHODS
    return Counts(
        image=shape,
        parameters=parameter_counts(model, next(iter(tables.values()))),
        forms={form: _beside(entries, model, shape, small, methods.get(form, form)) for form, entries in tables.items()},
    )


def _limits_of_features(model: nn.Module) -> InputLimits:
    """The images that a network without a specification takes, by timm's account of its features."""
    ours = cast(Any, model)
    return InputLimits(channels=ours.in_chans, smallest=ours.feature_info[-1]["reduction"])


def default_image(model: nn.Module) -> tuple[int, int]:
    """The image size (height, width) of the data set that timm's configuration names, else 32x32."""
    size = (getattr(model, "pretrained_cfg", None) or {}).get("input_size") or (3, 32, 32)
    return int(size[1]), int(size[2])


def closed_forms(model: nn.Module, size: tuple[int, int]) -> dict[str, list[Entry]] | None:
    """The closed form of each form of the network on an image (height, width); None for a network without one.

    All but MgNet have the one form "forward". Raises InputError for an image too small for the grids of a MgNet.
    """
    ours = cast(Any, model)
    if is_resnet(model):
        in_chans, num_classes = ours.stem.theta.in_channels, int(ours.num_classes)
        return {"forward": resnet.table(resnet_shape(model), in_chans=in_chans, num_classes=num_classes, size=size)}
    if is_gdfi(model):
        return {"forward": gdfi.table(ours.notation, *map_forms(model), gdfi_shape(model), size=size)}
    if not hasattr(model, "notation"):
        entries = table_of_model(model, size)
        return None if entries is None else {"forward": entries}
    view = view_of(model)
    try:
        check_image_size(ours.notation, "imagenet" if view.imagenet else "cifar", size)
    except ValueError as error:
        raise InputError(str(error)) from None
    forms: tuple[Form, ...] = ("residual", "feature")
    return {form: mgnet.table(ours.notation, shape_of(model, view), size=size, form=form) for form in forms}


def parameter_counts(model: nn.Module, entries: list[Entry]) -> ParameterCounts:
    """The parameters of a network three ways."""
    return ParameterCounts(
        closed_form=sum(entry.parameters for entry in entries),
        torch=measured.torch_parameters(model),
        fvcore=measured.fvcore_parameters(model),
    )


def measured_image(size: tuple[int, int], smallest: int) -> tuple[int, int]:
    """The smallest image whose count scales exactly to `size`: one pixel on the coarsest grid; `size` itself if uneven."""
    return (smallest, smallest) if size[0] % smallest == 0 and size[1] % smallest == 0 else size


def _beside(
    entries: list[Entry], model: nn.Module, shape: tuple[int, int, int], small: tuple[int, int], method: str
) -> list[OperatorCount]:
    """The entries with what torch and fvcore count; what they find elsewhere comes last, with a closed form of 0."""
    outside = outside_of_modules(model)
    by_torch = _by_place(measured.torch_macs_by_module(model, shape, method), outside)
    by_fvcore = _by_place(measured.scaled_macs_by_module(model, shape, small, method), outside)
    known = {(entry.grid, entry.operator): entry for entry in entries}
    strangers = sorted((by_torch.keys() | by_fvcore.keys()) - known.keys())
    known |= {(grid, name): Entry(grid=grid, operator=name, runs=0, macs=0, parameters=0) for grid, name in strangers}
    return [OperatorCount(entry=entry, torch=by_torch[place], fvcore=by_fvcore[place]) for place, entry in known.items()]


def _by_place(by_module: Mapping[str, int], outside: str) -> Counter[Place]:
    counted: Counter[Place] = Counter()
    for name, macs in by_module.items():
        if macs:
            counted[_place(name, outside)] += macs
    return counted


def _place(name: str, outside: str) -> Place:
    match = _IN_A_GRID.fullmatch(name)
    if match is None:
        return _PLACES.get(name, (0, name))
    operator = match["operator"] or outside
    return int(match["grid"]) + 1, _SHOWN.get(operator, operator)


def counts_lines(name: str, counted: Counts) -> Iterator[str]:
    """The parameters, then for each form a table of its operators with the three counts."""
    three = counted.parameters
    yield f"{name}"
    yield f"parameters: closed form {three.closed_form:,}, torch {three.torch:,}, fvcore {three.fvcore:,}"
    image = "x".join(map(str, counted.image))
    for form, rows in counted.forms.items():
        yield f"\n{form} form on {image}: {CONVENTION}"
        yield f"{'grid':>4}  {'operator':12}{'runs':>5}{'parameters':>14}{'closed form':>18}{'torch':>18}{'fvcore':>18}"
        yield from map(_line, rows)
        sums = (sum(row.entry.macs for row in rows), sum(row.torch for row in rows), sum(row.fvcore for row in rows))
        yield f"{'':4}  {'all':12}{'':5}{three.closed_form:14,}" + "".join(f"{value:18,}" for value in sums)
    yield "The three counts agree." if counted.agree else "FAIL: the three counts differ."


def _line(row: OperatorCount) -> str:
    entry, mark = row.entry, "" if row.agrees else "  FAIL"
    macs = "".join(f"{value:18,}" for value in (entry.macs, row.torch, row.fvcore))
    return f"{entry.grid or '':>4}  {entry.operator:12}{entry.runs:5}{entry.parameters:14,}{macs}{mark}"
