"""Properties as tests of your own network.

    NET = MyMgNet()

    @pytest.mark.parametrize("checked", properties_of(NET), ids=str)
    def test_my_network(checked):
        verify(NET, checked)

`MyMgNet` has a method `mgnet_view`, see `mgnet_verify.network.protocol`.
"""

from __future__ import annotations

from torch import nn

from mgnet_verify.check.run import EXAMPLES, Property, run_property
from mgnet_verify.errors import NotDecided, Violation
from mgnet_verify.network.subject import limits_of
from mgnet_verify.properties import MODEL_PROPERTIES


def properties_of(model: nn.Module) -> list[Property]:
    """The properties that apply to a network by what its view names and promises."""
    return [checked for checked in MODEL_PROPERTIES if checked.applies_to(model)]


def verify(model: nn.Module, checked: Property, *, examples: int = EXAMPLES, seed: int = 0) -> None:
    """Check one property. Raises Violation, with the first failing grid and iteration and a shrunk image, if an example fails.

    Raises NotDecided where no example decides.
    """
    result = run_property(model, limits_of(model), checked, examples=examples, seed=seed)
    if result.status == "fail":
        raise Violation(f"{result.name}: {result.detail}")
    if result.status == "not_decided":
        raise NotDecided(f"{result.name}: {result.detail}")
