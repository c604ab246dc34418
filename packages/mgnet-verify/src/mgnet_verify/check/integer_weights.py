"""Integer-valued copy: a copy of a model on which float64 arithmetic is exact, so that `==` decides.

Every parameter becomes an integer and every BatchNorm an affine map by powers of two. A convolution keeps a few nonzero
weights of +-1 for each output channel, which keeps the features alive and lets them grow slowly.

Evaluation BatchNorm divides by sqrt(running_var + eps). With running_var := fl(4^-k - eps) the sum fl(running_var + eps)
is 4^-k again: rounding 4^-k - eps errs by at most half a unit of the number just below 4^-k, which is a quarter of
the unit above it, so the exact sum lies within a rounding error of 4^-k and rounds to it. Then 1/sqrt is exactly 2^k.
eps itself stays the model's own, so a wrong eps is still seen by the specification, which reads it.

Numbers grow with the depth of a network. Where they would leave exact arithmetic, only a part `active` of the channels of each
normalization has a weight; the others give their bias, or 0 where `active` is at most 1/64. Steps and gains of sparse coding
are then mostly 1.
"""

from __future__ import annotations

import copy
import math

import numpy as np
import torch
from torch import nn

from mgnet_verify.errors import NotDecided
from mgnet_verify.specification import Array

# Odd, so that a hidden cast to fewer bits must round: 2^24 + 1 is no float32, 2^12 + 1 no bfloat16 or half.
AMPLITUDES = (2**24 + 1, 2**12 + 1, 3)
_SILENT = 1 / 64


def integer_copy(model: nn.Module, rng: np.random.Generator, *, nonzeros: int = 3, active: float = 1.0) -> nn.Module:
    """A float64 copy in eval mode with integer parameters; the model itself is left alone.

    Raises NotDecided for a network that cannot be copied, as one without memory for its weights.
    """
    try:
        copied = copy.deepcopy(model).double().cpu().eval()
    except Exception as error:  # whatever a network raises
        raise NotDecided(f"no copy in float64 on the CPU can be made: {type(error).__name__}: {error}", retry=False) from None
    for parameter in copied.parameters():
        parameter.requires_grad_(False)
    for module in copied.modules():
        _fill(module, rng, nonzeros, active)
    return copied


def _fill(module: nn.Module, rng: np.random.Generator, nonzeros: int, active: float) -> None:
    if isinstance(module, nn.BatchNorm2d):
        _fill_norm(module, rng, active)
        return
    if isinstance(momentum := getattr(module, "momentum", None), list):  # of FISTA: no rational number
        module.momentum = [float(t > 1) if any(momentum) else 0.0 for t in range(len(momentum))]  # type: ignore[assignment]
    for name, parameter in module.named_parameters(recurse=False):
        shape = tuple(parameter.shape)
        if parameter.ndim > 1:
            values = sparse_signs(shape, rng, nonzeros)
        elif name in ("c", "gain"):
            values = factors(shape, rng, active)
            if name == "gain":
                values = np.where(rng.random(shape) < active, values, 0.0)
        else:
            values = small(shape, rng, 1, 3)
        parameter.copy_(torch.from_numpy(values))


def factors(shape: tuple[int, ...], rng: np.random.Generator, active: float) -> Array:
    """What multiplies features: 1, or 2 or 3, which is rare where numbers must not grow."""
    return np.where(rng.random(shape) < active / 2, rng.integers(2, 4, size=shape), 1).astype(np.float64)


def _fill_norm(norm: nn.BatchNorm2d, rng: np.random.Generator, active: float) -> None:
    c = norm.num_features
    if norm.weight is not None:
        signs, bias = np.where(rng.random(c) < 0.2, -1.0, 1.0), small((c,), rng, -2, 2)
        is_active = rng.random(c) < active
        norm.weight.copy_(torch.from_numpy(np.where(is_active, signs, 0.0)))
        norm.bias.copy_(torch.from_numpy(bias if active > _SILENT else np.where(is_active, bias, 0.0)))
    if norm.running_mean is not None and norm.running_var is not None:
        norm.running_mean.copy_(torch.from_numpy(small((c,), rng, -2, 2)))
        k = (rng.random(c) < 0.1).astype(np.float64)
        norm.running_var.copy_(torch.from_numpy(4.0**-k - norm.eps))
    if norm.num_batches_tracked is not None:
        norm.num_batches_tracked.zero_()  # a trained network has counted already


def small(shape: tuple[int, ...], rng: np.random.Generator, low: int, high: int) -> Array:
    """Integers low..high as float64, none of them 0 where 0 would hide a bias that is added by mistake."""
    values = rng.integers(low, high + 1, size=shape)
    return np.where(values == 0, high, values).astype(np.float64)


def sparse_signs(shape: tuple[int, ...], rng: np.random.Generator, nonzeros: int) -> Array:
    """Kernels (c_out, ...) with at most `nonzeros` entries of +-1 for each output channel, the rest 0."""
    c_out, fan_in = shape[0], math.prod(shape[1:])
    kernel = np.zeros((c_out, fan_in))
    kept = rng.integers(0, fan_in, size=(c_out, nonzeros))
    signs = np.where(rng.random((c_out, nonzeros)) < 0.35, -1.0, 1.0)
    np.put_along_axis(kernel, kept, signs, axis=1)
    return kernel.reshape(shape)


def integer_image(shape: tuple[int, int, int, int], rng: np.random.Generator, amplitude: int) -> Array:
    """An image (b, c, h, w) of odd integers up to `amplitude` in absolute value."""
    return (2 * rng.integers(-(amplitude + 1) // 2, (amplitude + 1) // 2, size=shape) + 1).astype(np.float64)
