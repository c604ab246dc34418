"""The properties that a network must have, one function each.

A property is a function of a model and an `Example`. It returns an `ExampleResult`, or raises Violation with the first grid
and iteration where it fails, or NotDecided when the example cannot decide. The model is never changed. It runs on every
execution of the network that it fits (`check/executions.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from mgnet_verify.check.run import Property
from mgnet_verify.network.gdfi import is_gdfi
from mgnet_verify.network.protocol import has_view, view_of
from mgnet_verify.network.subject import inner_of
from mgnet_verify.properties import (
    conversion,
    deployed,
    duality,
    gradients,
    head,
    initialization,
    invariance,
    rounding,
    specification,
    structure,
    training,
)

__all__ = ["FRESH_PROPERTIES", "MODEL_PROPERTIES", "OF_ANY_NETWORK", "Property"]


def _needs(*forms: str, ordered: bool = False, notation: bool = False) -> Callable[[nn.Module], bool]:
    """Whether a network has these forms, the order of Algorithm 2 in them (`ordered`), and a `notation`; a MgNet has a view."""

    def applies_to(model: nn.Module) -> bool:
        if not has_view(model) or is_gdfi(model):
            return False
        view = view_of(model)
        has_forms = set(forms) <= view.forms.keys() and (view.follows_order or not ordered)
        return has_forms and (hasattr(model, "notation") or not notation)

    return applies_to


def _has(*names: str) -> Callable[[nn.Module], bool]:
    """Whether the network, or that inside a wrapper, has these attributes."""

    def applies_to(model: nn.Module) -> bool:
        inner: Any = inner_of(model)
        return all(hasattr(inner, name) for name in names)

    return applies_to


def _is_pursuing(model: nn.Module) -> bool:
    return any(isinstance(getattr(module, "momentum", None), list) for module in model.modules())


_is_mgnet = _needs()
_notation = _needs(notation=True)
_both = _needs("feature", "residual")
_both_ordered = _needs("feature", "residual", ordered=True)
_feature_ordered = _needs("feature", ordered=True)
_both_and_notation = _needs("feature", "residual", notation=True)

# Those that tell a wrong network soonest come first: the specification and what is cheap.
MODEL_PROPERTIES = (
    Property(check=specification.equals_the_specification, own_size=True),
    Property(check=structure.tensors_are_sound),
    Property(check=structure.tensors_by_name, applies_to=_notation),
    Property(check=structure.trained_as_stated, applies_to=_has("stem", "grids", "head")),
    Property(check=structure.features_as_announced, applies_to=_notation),
    Property(check=structure.parameters_of_the_notation, applies_to=_notation),
    Property(check=structure.norms_as_released, applies_to=_has("stem", "grids", "head")),
    Property(check=structure.momentum_as_stated, applies_to=_is_pursuing),
    Property(check=training.trains_as_specified, own_size=True),
    Property(check=gradients.gradients_as_specified, own_size=True),
    Property(check=gradients.training_step_as_specified, own_size=True),
    Property(check=rounding.within_rounding, own_size=True),
    Property(check=rounding.exact_in_half_precision),
    Property(check=specification.sizes_as_specified),
    Property(check=invariance.evaluation_is_pure),
    Property(check=invariance.batches_of_every_size),
    Property(check=invariance.homogeneous_without_shifts),
    Property(check=initialization.initializes_as_stated, applies_to=_has("init_weights")),
    Property(check=head.head_as_specified, applies_to=_has("forward_head", "reset_classifier", "get_classifier")),
    Property(check=head.features_are_given, applies_to=_has("forward_intermediates", "feature_info")),
    Property(check=specification.specification_obeys_the_theorem, applies_to=_is_mgnet),
    Property(check=specification.operands_of_A, applies_to=_both_ordered),
    Property(check=duality.residual_of_the_feature_form, applies_to=_feature_ordered),
    Property(check=duality.forms_agree, applies_to=_both),
    Property(check=deployed.residuals_within_rounding, applies_to=_both_ordered),
    Property(check=invariance.residuals_do_not_see_Pi, applies_to=_is_mgnet),
    Property(check=invariance.features_grow_within_a_grid, applies_to=_feature_ordered),
    Property(check=conversion.preact_resnet_has_the_residuals, applies_to=_both_and_notation),
    Property(check=conversion.gauge_freedom, applies_to=_both_and_notation),
    Property(check=structure.macs_of_the_notation, applies_to=_notation),
)

# Of a network that no specification is of, too: the first says so.
OF_ANY_NETWORK = MODEL_PROPERTIES[:2]

# Of a network that nobody has trained yet.
FRESH_PROPERTIES = (Property(check=initialization.starts_as_stated, applies_to=_has("init_weights")),)
