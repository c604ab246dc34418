"""TorchScript from outside: torch.jit compiles a torch.fx trace of a network, so that no equation is written for its compiler."""

from __future__ import annotations

from torch import fx, nn


def traced(network: nn.Module) -> fx.GraphModule:
    """The network as a graph of the layers that it calls, on the same parameters."""
    return _Traced(network, _Tracer().trace(network), type(network).__name__)


class _Tracer(fx.Tracer):
    """Layers of torch and timm stay calls of modules: they tell training from evaluation when they run."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return super().is_leaf_module(m, module_qualified_name) or m.__module__.startswith("timm.layers")


class _Traced(fx.GraphModule):
    def __init__(self, network: nn.Module, graph: fx.Graph, name: str) -> None:
        # torch.jit reads the source of a module's constructor, and warns of annotations in that of GraphModule.
        super().__init__(network, graph, name)
