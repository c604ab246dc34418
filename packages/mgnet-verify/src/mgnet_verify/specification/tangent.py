"""Exact derivatives of the specification: dual numbers a + b h with h^2 = 0, carried by numpy's complex arithmetic.

With h = i 2^-600 a product of two tangents is 2^-1200 times an integer and underflows to 0, so complex sums and products
of integers are exactly those of dual numbers, and the algorithms of this package differentiate themselves unchanged:
ReLU keeps both parts where the real part is positive and drops both elsewhere (relu'(0) = 0).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mgnet_verify.specification.algorithm2 import GridTensors, NetTensors, TransferTensors
from mgnet_verify.specification.operators import DUAL_STEP, Array
from mgnet_verify.specification.sigma import Sigma


def dual(value: Array, tangent: Array) -> Array:
    """value + tangent h."""
    return value + 1j * DUAL_STEP * tangent


def tangent(x: Array) -> Array:
    """The coefficient of h."""
    return np.imag(x) / DUAL_STEP


def along(net: NetTensors, direction: NetTensors) -> NetTensors:
    """The network with each trained tensor moving in the direction of the other's; running statistics stay."""
    return NetTensors(
        theta=dual(net.theta, direction.theta),
        sigma_f=_sigma(net.sigma_f, direction.sigma_f),
        imagenet=net.imagenet,
        grids=tuple(_grid(a, b) for a, b in zip(net.grids, direction.grids)),
        weight=dual(net.weight, direction.weight),
        bias=dual(net.bias, direction.bias),
    )


def _grid(a: GridTensors, b: GridTensors) -> GridTensors:
    return GridTensors(
        A=dual(a.A, b.A),
        B=tuple(dual(x, y) for x, y in zip(a.B, b.B)),
        sigma_r=tuple(_sigma(x, y) for x, y in zip(a.sigma_r, b.sigma_r)),
        sigma_u=tuple(_sigma(x, y) for x, y in zip(a.sigma_u, b.sigma_u)),
        transfer=None if a.transfer is None or b.transfer is None else _transfer(a.transfer, b.transfer),
    )


def _transfer(a: TransferTensors, b: TransferTensors) -> TransferTensors:
    return TransferTensors(
        Pi=dual(a.Pi, b.Pi), R=dual(a.R, b.R), sigma_Pi=_sigma(a.sigma_Pi, b.sigma_Pi), sigma_R=_sigma(a.sigma_R, b.sigma_R)
    )


def _sigma(a: Sigma, b: Sigma) -> Sigma:
    if a.normalization is None or b.normalization is None:
        return a
    weight, bias = dual(a.normalization.weight, b.normalization.weight), dual(a.normalization.bias, b.normalization.bias)
    return replace(a, normalization=replace(a.normalization, weight=weight, bias=bias))
