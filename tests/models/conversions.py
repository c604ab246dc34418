"""The check, shared by the tests of all families, that a network converts without changing its outputs."""

import torch
from torch import Tensor, nn


def assert_converts(model: nn.Module, x: Tensor) -> None:
    """TorchScript, torch.fx and torch.compile without graph breaks all give the outputs of the network in eval mode."""
    model.eval()
    expected = model(x)
    torch.testing.assert_close(torch.jit.script(model)(x), expected)
    torch.testing.assert_close(torch.fx.symbolic_trace(model)(x), expected)
    torch.compiler.reset()  # dynamo limits compilations of one forward, which all networks here inherit
    torch.testing.assert_close(torch.compile(model, fullgraph=True, backend="eager")(x), expected)
