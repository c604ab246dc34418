"""The properties that a network must have, one function each; `MODEL_PROPERTIES` lists those that any example can try.

A property is a function of a model and an Example that returns Evidence, or raises Violation with the first grid and step
where it fails, or NotDecided when the example cannot decide. The model is never changed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from mgnet_verify.check.example import Evidence, Example
from mgnet_verify.network.protocol import Parts
from mgnet_verify.properties import algorithm_2, conversion, deployed, duality, gradients, invariance, structure, training

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

    def __str__(self) -> str:
        return self.name

    def applies_to(self, model: nn.Module, parts: Parts) -> bool:
        """Whether the network has what the check looks at."""
        has_forms = self.forms <= parts.forms.keys() and (parts.follows_order or not self.ordered)
        return has_forms and (hasattr(model, "notation") or not self.notation)


_BOTH = frozenset({"literal", "residual"})

# In the order in which a wrong network is soonest told: the specification and what is cheap first.
MODEL_PROPERTIES = (
    Property(check=algorithm_2.equals_the_specification),
    Property(check=structure.tensors_by_name, notation=True),
    Property(check=structure.trained_as_stated, notation=True),
    Property(check=structure.features_as_announced, notation=True),
    Property(check=structure.parameters_of_the_notation, notation=True),
    Property(check=invariance.norms_as_released, notation=True),
    Property(check=training.trains_as_specified),
    Property(check=gradients.gradients_as_specified),
    Property(check=algorithm_2.the_two_algorithms_agree),
    Property(check=algorithm_2.operands_of_A, forms=_BOTH, ordered=True),
    Property(check=duality.residual_of_the_literal_form, forms=frozenset({"literal"}), ordered=True),
    Property(check=duality.forms_agree, forms=_BOTH),
    Property(check=deployed.residuals_within_rounding, forms=_BOTH, ordered=True),
    Property(check=invariance.evaluation_is_pure),
    Property(check=invariance.homogeneous_without_shifts),
    Property(check=invariance.residuals_do_not_see_Pi),
    Property(check=invariance.features_grow_within_a_grid, forms=frozenset({"literal"}), ordered=True),
    Property(check=conversion.preact_resnet_has_the_residuals, forms=_BOTH, notation=True),
    Property(check=conversion.gauge_freedom, forms=_BOTH, notation=True),
    Property(check=structure.macs_of_the_notation, notation=True),
)

# Of a network that nobody has trained yet.
FRESH_PROPERTIES = (Property(check=structure.starts_as_stated, notation=True),)
