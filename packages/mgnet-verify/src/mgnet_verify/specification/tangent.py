"""Exact derivatives of the specification: dual numbers a + b h with h^2 = 0, carried by numpy's complex arithmetic.

With h = i 2^-600 a product of two tangents is 2^-1200 times an integer and underflows to 0, so complex sums and products
of integers are exactly those of dual numbers, and the algorithms of this package differentiate themselves unchanged:
ReLU keeps both parts where the real part is positive and drops both elsewhere (relu'(0) = 0).
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np

from mgnet_verify.specification.operators import DUAL_STEP, Array
from mgnet_verify.specification.sigma import Normalization


def dual(value: Array, tangent: Array) -> Array:
    """value + tangent h."""
    return value + 1j * DUAL_STEP * tangent


def tangent(x: Array) -> Array:
    """The coefficient of h."""
    return np.imag(x) / DUAL_STEP


def along(net: Any, direction: Any) -> Any:
    """The tensors of a network, any dataclass of this package, with each trained one moving in the direction of the other's.

    Running statistics, settings and numbers stay.
    """
    if isinstance(net, Normalization):
        if not net.trained:
            return net
        weight, bias = dual(net.weight, direction.weight), dual(net.bias, direction.bias)
        return replace(net, weight=weight, bias=bias)
    if isinstance(net, np.ndarray):
        return dual(net, direction)
    if isinstance(net, tuple):
        return tuple(along(a, b) for a, b in zip(net, direction, strict=True))
    if is_dataclass(net) and not isinstance(net, type):
        return replace(net, **{part.name: along(getattr(net, part.name), getattr(direction, part.name)) for part in fields(net)})
    return net
