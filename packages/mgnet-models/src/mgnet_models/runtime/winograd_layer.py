"""The short way of a 3x3 convolution (`mgnet_models.runtime.winograd`) as a layer, for inference."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mgnet_models.runtime.winograd import Kernels, compute_dtype, convolve, is_short, pays, transform_kernels


class WinogradConv2d(nn.Conv2d):
    """A 3x3 convolution with frozen weights that takes the short way where it pays, and the direct one elsewhere.

    The short way needs no gradients here. Its transformed kernels are made at the first such call and take four times the
    memory of the weights.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        """Take over the parameters of a convolution. Raises ValueError for a geometry that has no short way."""
        if convolution.padding_mode != "zeros" or not is_short(
            convolution.weight, convolution.stride, convolution.padding, convolution.dilation, convolution.groups
        ):
            raise ValueError(f"{convolution} has no short way: it needs 3x3, stride 1, padding 1, no groups, no dilation")
        c_in, c_out, bias = convolution.in_channels, convolution.out_channels, convolution.bias is not None
        super().__init__(c_in, c_out, 3, padding=1, bias=bias, device="meta")
        self.weight, self.bias = convolution.weight, convolution.bias
        self._kernels: Kernels | None = None

    def forward(self, x: Tensor, addend: Tensor | None = None) -> Tensor:
        """The convolution of x, plus `addend` of the result's shape where one is given."""
        dtype = compute_dtype(x, self.weight)
        has_gradient = torch.is_grad_enabled() and (x.requires_grad or self.weight.requires_grad)
        if has_gradient or dtype is None or not pays(x, self.weight, dtype):
            y = super().forward(x)
            return y if addend is None else y.add_(addend)
        if self._kernels is None:
            self._kernels = transform_kernels(self.weight)
        return convolve(x.to(dtype), self._kernels, bias=self.bias, addend=None if addend is None else addend.to(dtype))

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        self._kernels = None
        return super()._apply(fn, recurse)

    def _load_from_state_dict(self, *arguments: Any) -> None:
        self._kernels = None
        super()._load_from_state_dict(*arguments)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_kernels": None}
