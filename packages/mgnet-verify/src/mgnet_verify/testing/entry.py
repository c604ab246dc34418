"""Properties as tests of your own network.

    NET = MyMgNet()

    @pytest.mark.parametrize("checked", properties_of(NET), ids=str)
    def test_my_network(checked):
        verify(NET, checked)

`MyMgNet` names its parts, see `mgnet_verify.network.protocol`.
"""

from __future__ import annotations

from torch import nn

from mgnet_verify.check.run import EXAMPLES, Room, try_property
from mgnet_verify.errors import Violation
from mgnet_verify.network.protocol import parts_of
from mgnet_verify.properties import MODEL_PROPERTIES, Property


def properties_of(model: nn.Module) -> list[Property]:
    """The properties that apply to a network by what it names and claims."""
    parts = parts_of(model)
    return [checked for checked in MODEL_PROPERTIES if checked.applies_to(model, parts)]


def verify(model: nn.Module, checked: Property, *, examples: int = EXAMPLES, seed: int = 0) -> None:
    """Violation, with the first failing grid and step and a shrunk image, unless the property holds on every example."""
    parts = parts_of(model)
    room = Room.of(len(parts.grids), parts.theta, imagenet=parts.imagenet)
    finding = try_property(model, room, checked, examples=examples, seed=seed)
    if finding.status == "fail":
        raise Violation(f"{finding.name}: {finding.detail}")
