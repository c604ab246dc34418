"""The properties that a network must have, one function each.

A property is a function of a model and an `Example`. It returns an `ExampleResult`, or raises Violation with the first grid
and iteration where it fails, or NotDecided when the example cannot decide. The model is never changed.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from mgnet_verify.check.run import Property
from mgnet_verify.network.gdfi import is_gdfi
from mgnet_verify.network.protocol import view_of
from mgnet_verify.network.resnet import is_resnet
from mgnet_verify.properties import algorithm_2, conversion, deployed, duality, gradients, invariance, structure, training
from mgnet_verify.properties.algorithms_1_and_3 import equals_algorithm_1, equals_algorithm_3

__all__ = ["FRESH_PROPERTIES", "GDFI_PROPERTIES", "MODEL_PROPERTIES", "RESNET_PROPERTIES", "Property", "properties_for"]


def _needs(*forms: str, ordered: bool = False, notation: bool = False) -> Callable[[nn.Module], bool]:
    """Whether a network has these forms, the order of Algorithm 2 in them (`ordered`), and a `notation`."""

    def applies_to(model: nn.Module) -> bool:
        view = view_of(model)
        has_forms = set(forms) <= view.forms.keys() and (view.follows_order or not ordered)
        return has_forms and (hasattr(model, "notation") or not notation)

    return applies_to


_notation = _needs(notation=True)
_both = _needs("feature", "residual")
_both_ordered = _needs("feature", "residual", ordered=True)
_feature_ordered = _needs("feature", ordered=True)
_both_and_notation = _needs("feature", "residual", notation=True)

# Of a MgNet. Those that tell a wrong network soonest come first: the specification and what is cheap.
MODEL_PROPERTIES = (
    Property(check=algorithm_2.equals_the_specification),
    Property(check=structure.tensors_by_name, applies_to=_notation),
    Property(check=structure.trained_as_stated, applies_to=_notation),
    Property(check=structure.features_as_announced, applies_to=_notation),
    Property(check=structure.parameters_of_the_notation, applies_to=_notation),
    Property(check=invariance.norms_as_released, applies_to=_notation),
    Property(check=training.trains_as_specified),
    Property(check=gradients.gradients_as_specified),
    Property(check=algorithm_2.specification_obeys_the_theorem),
    Property(check=algorithm_2.operands_of_A, applies_to=_both_ordered),
    Property(check=duality.residual_of_the_feature_form, applies_to=_feature_ordered),
    Property(check=duality.forms_agree, applies_to=_both),
    Property(check=deployed.residuals_within_rounding, applies_to=_both_ordered),
    Property(check=invariance.evaluation_is_pure),
    Property(check=invariance.homogeneous_without_shifts),
    Property(check=invariance.residuals_do_not_see_Pi),
    Property(check=invariance.features_grow_within_a_grid, applies_to=_feature_ordered),
    Property(check=conversion.preact_resnet_has_the_residuals, applies_to=_both_and_notation),
    Property(check=conversion.gauge_freedom, applies_to=_both_and_notation),
    Property(check=structure.macs_of_the_notation, applies_to=_notation),
)

# Of a MgNet that nobody has trained yet.
FRESH_PROPERTIES = (Property(check=structure.starts_as_stated, applies_to=_notation),)

RESNET_PROPERTIES = (Property(check=equals_algorithm_1),)
GDFI_PROPERTIES = (Property(check=equals_algorithm_3),)


def properties_for(model: nn.Module) -> tuple[Property, ...]:
    """The properties of the network's family, applicable or not; those of a MgNet for a network of no family of ours."""
    if is_resnet(model):
        return RESNET_PROPERTIES
    return GDFI_PROPERTIES if is_gdfi(model) else MODEL_PROPERTIES
