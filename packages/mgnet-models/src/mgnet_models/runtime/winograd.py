"""A 3x3 convolution in four times fewer multiplications: F(4x4, 3x3) of minimal filtering (Lavin and Gray, CVPR 2016).

A tile of 4x4 outputs reads 6x6 inputs d. With fixed matrices P, Q, S and the kernel g,

    y = S [(Q g Q^T) . (P d P^T)] S^T,

where the product in the middle is entry by entry, 36 products for each pair of channels instead of 144, summed over the
input channels: 36 matrix products. The transforms before and after cost the same for any number of channels, so the gain
grows with it. P and S hold integers and Q fractions of 24: with suitable integers all of it is exact. Other numbers are
rounded a few times more than by the direct convolution.

Here is when and on which of two ways it is done: by the C code of this package, compiled when first needed, or where
that does not serve (no compiler, other dtypes, odd numbers of channels) by torch's operations, which gain less.

Shapes: x and its derivative (b, c_in, h, w), y and its derivative g (b, c_out, h, w), weight (c_out, c_in, 3, 3).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.jit import is_tracing  # type: ignore[attr-defined]

from mgnet_models.runtime import winograd_in_c, winograd_in_torch

# Below these the transforms cost more than the products save (python -m benchmarks.convolution). In bfloat16 the direct way
# has twice the speed, and torch's operations nothing to set against it.
_LEAST_CHANNELS_IN_C = {torch.float32: 48, torch.bfloat16: 64}
_LEAST_CHANNELS_IN_TORCH = {torch.float32: 256, torch.float64: 256}
_LEAST_TILES_IN_C, _LEAST_TILES_IN_TORCH = 32, 512


@dataclass(frozen=True)
class Kernels:
    """Transformed kernels, in the form of the way that reads them."""

    values: Tensor
    c_in: int
    c_out: int
    in_c: bool


def is_short(weight: Tensor, stride: Any, padding: Any, dilation: Any, groups: int) -> bool:
    """Whether a convolution has the geometry of the short way: 3x3, stride 1, zero padding 1, no dilation, no groups.

    Stride, padding and dilation are numbers or pairs, as torch takes them.
    """
    same = [values if isinstance(values, int) else tuple(values) for values in (stride, padding, dilation)]
    return weight.shape[2:] == (3, 3) and groups == 1 and all(values in (1, (1,), (1, 1)) for values in same)


def is_wide(weight: Tensor, dtype: torch.dtype) -> bool:
    """Whether a kernel has channels enough for the short way to pay in this dtype. May compile the C code, once on a machine."""
    return _least_tiles(weight, dtype) is not None


def _least_tiles(weight: Tensor, dtype: torch.dtype) -> int | None:
    """From how many tiles on the short way pays; None where it never does."""
    c_out, c_in = weight.shape[:2]
    least = min(c_out, c_in)
    if least >= _LEAST_CHANNELS_IN_C.get(dtype, sys.maxsize) and winograd_in_c.serves(dtype, c_in, c_out):
        return _LEAST_TILES_IN_C
    return _LEAST_TILES_IN_TORCH if least >= _LEAST_CHANNELS_IN_TORCH.get(dtype, sys.maxsize) else None


def pays(x: Tensor, weight: Tensor, dtype: torch.dtype) -> bool:
    """Whether the short way of a 3x3 convolution in this dtype exists and is the faster one: on a CPU, wide, and large enough.

    Not while torch compiles, exports or traces: what comes of that runs elsewhere, with other sizes.
    """
    if (
        type(x) is not Tensor  # a proxy of a tracer, or a tensor without numbers
        or torch.compiler.is_compiling()
        or is_tracing()
        or not x.device.type == weight.device.type == "cpu"
        or x.dim() != 4
        or x.shape[1] != weight.shape[1]
    ):
        return False
    least = _least_tiles(weight, dtype)
    return least is not None and x.shape[0] * -(-x.shape[2] // 4) * -(-x.shape[3] // 4) >= least


def compute_dtype(x: Tensor, weight: Tensor) -> torch.dtype | None:
    """The dtype in which torch would convolve them here, autocast or not; None where it would not, as they differ."""
    if torch.is_autocast_enabled("cpu"):
        return torch.get_autocast_dtype("cpu")
    return x.dtype if x.dtype == weight.dtype else None


def transform_kernels(weight: Tensor) -> Kernels:
    """Q g Q^T of all kernels, 36 / 9 times as many numbers, for images of the same dtype; no gradients."""
    c_out, c_in = weight.shape[:2]
    in_c = winograd_in_c.serves(weight.dtype, c_in, c_out)
    values = (winograd_in_c if in_c else winograd_in_torch).transform_kernels(weight.detach())
    return Kernels(values, c_in, c_out, in_c)


def convolve(x: Tensor, kernels: Kernels, *, bias: Tensor | None = None, addend: Tensor | None = None) -> Tensor:
    """The convolution with zero padding 1, plus bias (c_out,) and addend (b, c_out, h, w), channels_last; no gradients.

    Raises RuntimeError where shapes or dtypes do not fit.
    """
    if kernels.in_c:
        return winograd_in_c.convolve(x, kernels.values, kernels.c_in, kernels.c_out, bias=bias, addend=addend)
    return winograd_in_torch.convolve(x, kernels.values, bias=bias, addend=addend)


def image_gradient(g: Tensor, weight: Tensor) -> Tensor:
    """The derivative by x of the convolution of x with `weight`, whose result has the derivative g: again a convolution."""
    return convolve(g, transform_kernels(weight.flip(2, 3).transpose(0, 1)))


def kernel_gradient(x: Tensor, g: Tensor) -> Tensor:
    """The derivative by the kernels (c_out, c_in, 3, 3) of the convolution of x, whose result has the derivative g.

    It is the transpose of the short convolution in its kernels: Q^T [(S^T g S) . (P x P^T)] Q, summed over all tiles.
    """
    in_c = winograd_in_c.serves(x.dtype, x.shape[1], g.shape[1])
    return (winograd_in_c if in_c else winograd_in_torch).kernel_gradient(x, g).to(x.dtype)
