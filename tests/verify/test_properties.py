"""Every property holds for MgNet on generated grids, and for a network as the paper configures it."""

import pytest
import timm
from hypothesis import given, settings

import mgnet_models  # noqa: F401, registers the names
from mgnet_verify import MODEL_PROPERTIES, Example, Property
from mgnet_verify.testing import Case, cases, holds, verify

# Twenty properties times 15 networks are what two minutes allow beside the planted defects; longer profiles draw all of theirs.
EXAMPLES = 15 if settings.get_current_profile_name() == "quick" else settings.default.max_examples


@pytest.mark.parametrize("checked", MODEL_PROPERTIES, ids=lambda checked: checked.name)
@settings(max_examples=EXAMPLES)
@given(case=cases())
def test_property_holds_on_generated_grids(checked: Property, case: Case) -> None:
    holds(checked, case)


@pytest.mark.parametrize("checked", MODEL_PROPERTIES, ids=lambda checked: checked.name)
def test_property_says_what_it_states(checked: Property) -> None:
    assert checked.statement.endswith((".", ")")), checked.statement
    assert len(checked.statement) < 140


@settings(max_examples=1)
@given(case=cases())
def test_an_example_prints_what_is_needed_to_draw_it_again(case: Case) -> None:
    text = str(case)
    assert f"seed {case.example.seed}" in text
    assert str(case.notation) in text


def test_the_features_of_an_exactified_network_stay_alive() -> None:
    from mgnet_verify.check.oracle import reference

    model = timm.create_model("mgnet", notation="MgNet[2,2,2]-[16]-B^l", num_classes=3)
    right = reference(model, Example(seed=0, shape=(2, 3, 9, 11), amplitude=2**12 + 1))
    for grid in right.primal.grids:
        assert (grid.u[-1] != 0).mean() > 0.3
        assert (grid.s[-1] != 0).mean() > 0.1


def test_training_is_decided_on_a_wide_network_with_constant_channels() -> None:
    model = timm.create_model("mgnet", notation="MgNet[2,2,2]-[96]-B^l", num_classes=3)
    checked = next(checked for checked in MODEL_PROPERTIES if checked.name == "trains_as_specified")
    verify(model, checked)
