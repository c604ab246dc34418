"""Strategies and helpers that the tests of mgnet_models share."""

from collections.abc import Callable
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from mgnet_models import MgNet
from mgnet_models.nn.classifier import Network
from mgnet_verify.testing.cases import notations

NOTATIONS = notations(channels=4)


@st.composite
def _networks(draw: st.DrawFn) -> tuple[MgNet, Tensor]:
    """A MgNet in double precision with lively norms, and images of any size, batch 1 included."""
    notation = draw(NOTATIONS)
    torch.manual_seed(draw(st.integers(0, 2**31)))
    model = MgNet(notation, in_chans=draw(st.integers(1, 3)), num_classes=3, dtype=torch.float64).eval()
    disturb_norms(model)
    size = draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    return model, torch.randn(draw(st.integers(1, 3)), model.in_chans, *size, dtype=torch.float64)


def disturb_norms(model: nn.Module) -> None:
    """Give every BatchNorm weights, biases and statistics that are not those of a fresh one."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            with torch.no_grad():
                if module.affine:
                    module.weight.uniform_(-1.5, 1.5)
                    module.bias.uniform_(-0.5, 0.5)
                assert module.running_mean is not None
                assert module.running_var is not None
                module.running_mean.uniform_(-0.5, 0.5)
                module.running_var.uniform_(0.5, 2.0)


NETWORKS = _networks()


def grids_of(model: Network) -> list[Any]:
    """The grids of a network, typed as Any: a family's operators are attributes that `nn.Module` does not declare."""
    return list(model.grids)


def count_calls(model: nn.Module, call: Callable[[], object]) -> dict[str, int]:
    """How often each convolution of a model runs during a call."""
    calls: dict[str, int] = {}
    hooks = []
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            calls[name] = 0
            hooks.append(module.register_forward_hook(lambda *_, name=name: calls.__setitem__(name, calls[name] + 1)))
    call()
    for hook in hooks:
        hook.remove()
    return calls
