"""TorchScript from outside: torch.jit compiles a torch.fx trace of a network, so that no equation is written for its compiler."""

from __future__ import annotations

from torch import fx, nn


class _Tracer(fx.Tracer):
    """Layers of torch and timm stay calls of modules: only they know training from evaluation."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return super().is_leaf_module(m, module_qualified_name) or m.__module__.startswith("timm.layers")


def traced(network: nn.Module) -> fx.GraphModule:
    """The network as a graph of the layers it calls, on the same parameters."""
    return fx.GraphModule(network, _Tracer().trace(network), type(network).__name__)
