"""Counts by running or tracing a network: torch for parameters, fvcore for parameters, convolutions and linear layers.

Known limits of fvcore, which has had no release since December 2022: it needs real tensors on the CPU, traces through the
deprecated torch.jit, and in training mode moves running statistics; so it sees a copy in evaluation mode. Its total
adds normalization and pooling; only its `conv`, `linear`, `addmm` and `matmul` are read. A multiply-add counts once.
"""

from __future__ import annotations

import copy
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

# The method of a MgNet that computes each form.
METHODS = {"residual": "forward", "feature": "forward_feature_form"}
_PRODUCTS = ("conv", "linear", "addmm", "matmul")


def torch_parameters(model: nn.Module) -> int:
    """The number of parameters, each tensor once."""
    return sum(parameter.numel() for parameter in model.parameters())


def torch_macs(model: nn.Module, image_shape: tuple[int, int, int], method: str = "forward") -> int:
    """Multiply-adds of `model.method` on one image (c, h, w), counted by torch on the meta device: nothing is computed.

    torch counts two floating-point operations for a multiply-add, and counts convolutions and matrix products only.
    """
    return sum(torch_macs_by_module(model, image_shape, method).values())


def torch_macs_by_module(model: nn.Module, image_shape: tuple[int, int, int], method: str = "forward") -> Counter[str]:
    """The same for each module by name, what its submodules do left out; "" is what runs outside of all."""
    from torch.utils.flop_counter import FlopCounterMode

    copied = copy.deepcopy(model).to("meta").eval()
    own: Counter[str] = Counter()
    running = [""]
    with FlopCounterMode(display=False) as counter, torch.no_grad():

        def charge() -> None:
            own[running[-1]] += counter.get_total_flops() // 2 - own.total()

        def enter(name: str) -> None:
            charge()
            running.append(name)

        def leave() -> None:
            charge()
            running.pop()

        for name, module in copied.named_modules():
            module.register_forward_pre_hook(lambda *_, name=name: enter(name))
            module.register_forward_hook(lambda *_: leave())
        getattr(copied, method)(torch.zeros(1, *image_shape, device="meta", dtype=next(copied.parameters()).dtype))
        charge()
    return own


def fvcore_parameters(model: nn.Module) -> int:
    """The same by fvcore."""
    with _quiet():
        from fvcore.nn import parameter_count

        return int(parameter_count(model)[""])


def fvcore_macs(model: nn.Module, image_shape: tuple[int, int, int], method: str = "forward") -> int:
    """Multiply-adds of `model.method` on one image (c, h, w), by fvcore's handlers for convolutions and linear layers."""
    return sum(fvcore_macs_by_operator(model, image_shape, method).values())


def fvcore_macs_by_operator(model: nn.Module, image_shape: tuple[int, int, int], method: str = "forward") -> Counter[str]:
    """The same, apart for "conv" and for the linear layers."""
    by_module = fvcore_macs_by_module(model, image_shape, method)
    return sum(by_module.values(), Counter())


def fvcore_macs_by_module(model: nn.Module, image_shape: tuple[int, int, int], method: str = "forward") -> dict[str, Counter[str]]:
    """The same for each module by name, what its submodules do left out."""
    with _quiet(), torch.no_grad():
        from fvcore.nn import FlopCountAnalysis

        analysis = FlopCountAnalysis(_Method(copy.deepcopy(model).cpu().float().eval(), method), torch.zeros(1, *image_shape))
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
        whole = {name: _products(counted) for name, counted in analysis.by_module_and_operator().items()}
    own = {name: Counter(counted) for name, counted in whole.items()}
    for name, counted in whole.items():
        if name:
            own[name.rpartition(".")[0]].subtract(counted)
    return {name.removeprefix("model").removeprefix("."): counted for name, counted in own.items() if name}


def _products(counted: Mapping[str, int]) -> Counter[str]:
    return Counter({name: int(counted[name]) for name in _PRODUCTS if counted[name]})


def scaled_macs_by_module(
    model: nn.Module, shape: tuple[int, int, int], small: tuple[int, int], method: str = "forward"
) -> Counter[str]:
    """fvcore's count of each module for an image (c, h, w), measured on `small` and scaled by the pixels of the two images.

    A convolution's multiply-adds are proportional to its output pixels. If h and w are multiples of `small`'s, and those
    are multiples of the network's whole reduction, every grid grows by the same factor (h w) / (h' w') and the scaling is
    exact; the linear layer stays.
    """
    c, h, w = shape
    if h % small[0] or w % small[1]:
        raise ValueError(f"an image of {h}x{w} is no multiple of {small[0]}x{small[1]}: measure it on a divisor")
    pixels = (h // small[0]) * (w // small[1])
    by_module = fvcore_macs_by_module(model, (c, *small), method)
    return Counter({name: counted.total() + (pixels - 1) * counted["conv"] for name, counted in by_module.items()})


def scaled_macs(model: nn.Module, shape: tuple[int, int, int], small: tuple[int, int], method: str = "forward") -> int:
    """The same for the whole network."""
    return scaled_macs_by_module(model, shape, small, method).total()


class _Method(nn.Module):
    """A method of a model as a module's forward, which is what fvcore traces."""

    def __init__(self, model: nn.Module, method: str) -> None:
        super().__init__()
        self.model = model
        self._run: Callable[[Tensor], Tensor] = getattr(model, method)

    def forward(self, image: Tensor) -> Tensor:
        return self._run(image)


@contextmanager
def _quiet() -> Iterator[None]:
    """fvcore announces at import and in each trace that torch.jit is deprecated; nobody here can act on it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
