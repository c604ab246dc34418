"""Every property holds for MgNet on generated grids, and for a network as the paper configures it."""

import re

import numpy as np
import pytest
import timm
from hypothesis import given, settings

import mgnet_models  # noqa: F401, registers the names
from mgnet_verify import MODEL_PROPERTIES, Example, Property
from mgnet_verify.check.oracle import oracle_of
from mgnet_verify.properties import FRESH_PROPERTIES
from mgnet_verify.testing import Case, cases, holds, verify

# What the budget allows for thirty properties on fourteen executions each; longer profiles draw all of theirs.
EXAMPLES = 3 if settings.get_current_profile_name() == "quick" else settings.default.max_examples

ALL = (*MODEL_PROPERTIES, *FRESH_PROPERTIES)


# Most run on fourteen executions each; a pursuit has no grid.
@pytest.mark.parametrize("checked", [one for one in MODEL_PROPERTIES if one.name != "momentum_as_stated"], ids=str)
@settings(max_examples=EXAMPLES)
@given(case=cases())
def test_property_holds_on_generated_grids(checked: Property, case: Case) -> None:
    holds(checked, case)


@pytest.mark.parametrize("checked", ALL, ids=str)
def test_the_statement_of_a_property_is_one_line_of_its_own(checked: Property) -> None:
    others = {other.statement for other in ALL if other is not checked}
    assert checked.statement != checked.name, "the check has no docstring"
    assert checked.statement not in others
    assert len(checked.statement) < 140, "the certificate prints it on one line"


@settings(max_examples=10)
@given(case=cases())
def test_an_example_prints_what_is_needed_to_draw_it_again(case: Case) -> None:
    printed = re.search(r"seed (\d+), input (\d+)x(\d+)x(\d+)x(\d+), amplitude (\d+)$", str(case))
    assert printed is not None
    seed, b, c, h, w, amplitude = map(int, printed.groups())
    again = Example(seed=seed, shape=(b, c, h, w), amplitude=amplitude)
    assert np.array_equal(again.pixels(), case.example.pixels())
    assert str(case).startswith(str(case.notation))


def test_the_features_of_an_integer_valued_copy_stay_alive() -> None:
    model = timm.create_model("mgnet", notation="MgNet[2,2,2]-[16]-B^l", num_classes=3)
    right = oracle_of(model, Example(seed=0, shape=(2, 3, 9, 11), amplitude=2**12 + 1))
    for grid in right.feature_form.grids:
        assert (grid.u[-1] != 0).mean() > 0.3
        assert (grid.s[-1] != 0).mean() > 0.1


def test_training_is_decided_on_a_wide_network_with_constant_channels() -> None:
    model = timm.create_model("mgnet", notation="MgNet[2,2,2]-[96]-B^l", num_classes=3)
    checked = next(checked for checked in MODEL_PROPERTIES if checked.name == "trains_as_specified")
    verify(model, checked)
