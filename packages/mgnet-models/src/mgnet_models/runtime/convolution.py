"""A network in training takes the short way of its 3x3 convolutions (`mgnet_models.runtime.winograd`), forward and backward."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode

from mgnet_models.runtime.winograd import (
    compute_dtype,
    convolve,
    image_gradient,
    is_short,
    is_wide,
    kernel_gradient,
    pays,
    transform_kernels,
)

_depth = ContextVar("contexts of ShortConvolutions that are open", default=0)


class ShortConvolutions(TorchFunctionMode):
    """Within this context the 3x3 convolutions of any network take the short way where it pays.

        with ShortConvolutions():
            loss = F.cross_entropy(network(images), labels)
        loss.backward()

    First derivatives too; both change by rounding only. Kernels are transformed at each call, as they may have changed.
    """

    @staticmethod
    def matter_to(network: nn.Module, dtype: torch.dtype) -> bool:
        """Whether the network has a convolution that may take the short way when it computes in this dtype."""
        convolutions = (module for module in network.modules() if isinstance(module, nn.Conv2d))
        return any(
            is_wide(it.weight, dtype) and is_short(it.weight, it.stride, it.padding, it.dilation, it.groups) for it in convolutions
        )

    @staticmethod
    def are_on() -> bool:
        """Whether such a context is open; a backward pass runs after it, and asks during the forward pass."""
        return _depth.get() > 0

    def __enter__(self) -> ShortConvolutions:
        _depth.set(_depth.get() + 1)
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        _depth.set(_depth.get() - 1)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch.conv2d:
            return _convolution(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _convolution(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Tensor:
    dtype = compute_dtype(input, weight)
    if dtype is None or not (is_short(weight, stride, padding, dilation, groups) and pays(input, weight, dtype)):
        return torch.conv2d(input, weight, bias, stride, padding, dilation, groups)
    y: Tensor = _ShortConvolution.apply(input.to(dtype), weight.to(dtype))
    return y if bias is None else y + bias.to(dtype)[:, None, None]


class _ShortConvolution(torch.autograd.Function):
    """x (b, c_in, h, w) and weight (c_out, c_in, 3, 3) to (b, c_out, h, w)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return convolve(x, transform_kernels(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        of_x = image_gradient(g, weight) if ctx.needs_input_grad[0] else None
        return of_x, kernel_gradient(x, g) if ctx.needs_input_grad[1] else None
