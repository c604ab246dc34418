"""Counts of one network three ways, multiply-adds by grid and operator: closed form, torch, fvcore."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import nn

from mgnet_models.notation import Notation
from mgnet_verify.certificate.certify import METHODS, default_image, measured_image, require_room
from mgnet_verify.certificate.document import Parameters
from mgnet_verify.check.run import Room
from mgnet_verify.counts import measured as counting
from mgnet_verify.counts.closed_form import mgnet as closed_form
from mgnet_verify.counts.closed_form.mgnet import CONVENTION, Entry, Form
from mgnet_verify.errors import UserError
from mgnet_verify.network.protocol import parts_of
from mgnet_verify.properties.algorithms_1_and_3 import relative_of
from mgnet_verify.properties.structure import shape_of
from mgnet_verify.resolve import Target

Place = tuple[int, str]

# The operators by the names of their modules. What a grid computes outside of its modules is B at another stride.
_PLACES = {"stem.theta": (0, "theta"), "head.fc": (0, "classifier")}
_IN_A_GRID = re.compile(r"grids\.(?P<grid>\d+)(\.transfer)?(\.(?P<operator>A|B|B_pool|Pi|R)(\.\d+)?)?")
_PRINTED = {None: "B", "B_pool": "B^{l,0}"}


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
    parameters: Parameters
    forms: dict[str, list[OperatorCount]]

    @property
    def agree(self) -> bool:
        """Whether closed form, torch and fvcore agree everywhere."""
        parameters = self.parameters
        same = parameters.closed_form == parameters.torch == parameters.fvcore
        return same and all(row.agrees for rows in self.forms.values() for row in rows)


def counts(target: Target, image: tuple[int, int] | None = None) -> Counts:
    """Count a MgNet, ResNet, pre-act ResNet or GDFI on one image of the size given, or of its data set's.

    UserError for a network without a closed form and for an image too small for its grids.
    """
    size = image or default_image(target.model)
    room, tables = _closed_forms(target, size)
    shape, small = (room.channels, *size), measured_image(size, room.smallest)
    forms = {form: _beside(entries, target.model, shape, small, METHODS.get(form, form)) for form, entries in tables.items()}
    parameters = Parameters(
        closed_form=sum(entry.parameters for entry in next(iter(tables.values()))),
        torch=counting.torch_parameters(target.model),
        fvcore=counting.fvcore_parameters(target.model),
    )
    return Counts(image=shape, parameters=parameters, forms=forms)


def _closed_forms(target: Target, size: tuple[int, int]) -> tuple[Room, dict[str, list[Entry]]]:
    relative = relative_of(target.model)
    if relative is not None:
        room = Room.of(relative.grids(target.model), relative.stem(target.model), imagenet=relative.imagenet(target.model))
        return room, {"forward": relative.table(target.model, size)}
    if target.notation is None:
        raise UserError(f"no closed form for {target.name!r}: the families are MgNet, mgresnet, mgpreactresnet and GDFI")
    return _closed_forms_of_mgnet(target.model, target.notation, size)


def _closed_forms_of_mgnet(model: nn.Module, notation: Notation, size: tuple[int, int]) -> tuple[Room, dict[str, list[Entry]]]:
    parts = parts_of(model)
    require_room(notation, parts, size)
    shape = shape_of(model, parts)
    forms: tuple[Form, ...] = ("residual", "literal")
    tables: dict[str, list[Entry]] = {form: closed_form.table(notation, shape, size=size, form=form) for form in forms}
    return Room.of(len(parts.grids), parts.theta, imagenet=parts.imagenet), tables


def _beside(
    entries: list[Entry], model: nn.Module, shape: tuple[int, int, int], small: tuple[int, int], method: str
) -> list[OperatorCount]:
    """The entries with what torch and fvcore count; what they find elsewhere stands at the end with a closed form of 0."""
    by_torch = _by_place(counting.torch_macs_by_module(model, shape, method))
    by_fvcore = _by_place(counting.scaled_macs_by_module(model, shape, small, method))
    known = {(entry.grid, entry.operator): entry for entry in entries}
    strangers = sorted((by_torch.keys() | by_fvcore.keys()) - known.keys())
    known |= {(grid, name): Entry(grid=grid, operator=name, runs=0, macs=0, parameters=0) for grid, name in strangers}
    return [OperatorCount(entry=entry, torch=by_torch[place], fvcore=by_fvcore[place]) for place, entry in known.items()]


def _by_place(by_module: Mapping[str, int]) -> Counter[Place]:
    counted: Counter[Place] = Counter()
    for name, macs in by_module.items():
        if macs:
            counted[_place(name)] += macs
    return counted


def _place(name: str) -> Place:
    match = _IN_A_GRID.fullmatch(name)
    if match is None:
        return _PLACES.get(name, (0, name))
    operator = match["operator"]
    return int(match["grid"]) + 1, _PRINTED.get(operator, str(operator))


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
