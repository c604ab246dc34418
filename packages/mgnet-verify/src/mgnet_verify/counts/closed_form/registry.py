"""The families that can be counted. A file of `closed_form/` calls `register`; its import is all that this takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from torch import nn

from mgnet_verify.counts.closed_form.mgnet import Entry

# What a table is made from: all that one network of the family has and another has not, but for inputs and classes.
Shape = TypeVar("Shape")
OfShape = TypeVar("OfShape", contravariant=True)


class Table(Protocol[OfShape]):
    """Every operator of every grid on one image (height, width), stem and classifier being grid 0."""

    def __call__(self, shape: OfShape, /, *, in_chans: int, num_classes: int, size: tuple[int, int]) -> list[Entry]: ...


@dataclass(frozen=True, kw_only=True)
class Family(Generic[Shape]):
    """A family: the shape of a registered name and of a built network, None for any other, and the table of a shape.

    `outside` names the operator that a grid computes outside of its modules.
    """

    name: str
    of_name: Callable[[str], Shape | None]
    of_model: Callable[[nn.Module], Shape | None]
    table: Table[Shape]
    outside: str = "B"


_FAMILIES: list[Family[Any]] = []


def register(family: Family[Any]) -> None:
    """Count the networks of a family by its table from now on."""
    _FAMILIES.append(family)


def registered_families() -> tuple[str, ...]:
    """The names of the registered families, in alphabetical order."""
    return tuple(sorted(family.name for family in _FAMILIES))


def table_of_name(name: str, *, in_chans: int, num_classes: int, size: tuple[int, int]) -> list[Entry] | None:
    """The table of a registered name on an image (height, width), None for a name of no registered family."""
    for family in _FAMILIES:
        if (shape := family.of_name(name)) is not None:
            return family.table(shape, in_chans=in_chans, num_classes=num_classes, size=size)
    return None


def family_of(model: nn.Module) -> str | None:
    """The name of the registered family of a built network, None for any other."""
    return next((family.name for family in _FAMILIES if family.of_model(model) is not None), None)


def outside_of_modules(model: nn.Module) -> str:
    """The operator that the grids of a network compute outside of their modules: B at another stride, or what its family says."""
    return next((family.outside for family in _FAMILIES if family.of_model(model) is not None), "B")


def table_of_model(model: Any, size: tuple[int, int]) -> list[Entry] | None:
    """The table of a built network on an image (height, width), None for a network of no registered family."""
    for family in _FAMILIES:
        if (shape := family.of_model(model)) is not None:
            return family.table(shape, in_chans=model.in_chans, num_classes=model.num_classes, size=size)
    return None
