"""The properties that a network must have, one function each; `MODEL_PROPERTIES` lists those that any example can try.

A property is a function of a model and an Example that returns Evidence, or raises Violation with the first grid and step
where it fails, or NotDecided when the example cannot decide. The model is never changed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from mgnet_verify.example import Evidence, Example
from mgnet_verify.parts import Parts
from mgnet_verify.properties import duality, oracle, structure

Check = Callable[[nn.Module, Example], Evidence]


@dataclass(frozen=True, kw_only=True)
class Property:
    """A check, and what it asks of a network: these `forms`, the order of Algorithm 2 in them (`ordered`), a `notation`."""

    check: Check
    forms: frozenset[str] = frozenset()
    ordered: bool = False
    notation: bool = False

    @property
    def name(self) -> str:
        """The function's name, as reports print it."""
        return self.check.__name__

    @property
    def statement(self) -> str:
        """The first line of the docstring: what holds."""
        return (self.check.__doc__ or self.name).splitlines()[0]

    def applies_to(self, model: nn.Module, parts: Parts) -> bool:
        """Whether the network has what the check looks at."""
        has_forms = self.forms <= parts.forms.keys() and (parts.follows_order or not self.ordered)
        return has_forms and (hasattr(model, "notation") or not self.notation)


_BOTH = frozenset({"literal", "residual"})

MODEL_PROPERTIES = (
    Property(check=oracle.the_two_algorithms_agree),
    Property(check=oracle.equals_the_specification),
    Property(check=oracle.operands_of_A, forms=_BOTH, ordered=True),
    Property(check=duality.residual_of_the_literal_form, forms=frozenset({"literal"}), ordered=True),
    Property(check=duality.forms_agree, forms=_BOTH),
    Property(check=structure.tensors_by_name, notation=True),
    Property(check=structure.parameters_of_the_notation, notation=True),
    Property(check=structure.macs_of_the_notation, notation=True),
)
