"""Wrong implementations fail: each defect planted in the model's source is caught, and the source without one is not."""

import pytest

from mgnet_models import MgNet
from mgnet_verify.testing.defects import DEFECTS, Defect, caught_by
from mgnet_verify.testing.variants import edited, load


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.name)
def test_a_planted_defect_is_caught(defect: Defect) -> None:
    assert caught_by(defect.network()), f"{defect.name} survives every property"


def test_the_source_without_a_defect_passes_every_property() -> None:
    assert caught_by(load({})) == {}
    assert caught_by(MgNet) == {}


def test_a_defect_that_no_longer_fits_the_code_says_so() -> None:
    with pytest.raises(ValueError, match="does not occur in grid.py: the planted defect must follow the code"):
        edited("grid", "no such line", "")
