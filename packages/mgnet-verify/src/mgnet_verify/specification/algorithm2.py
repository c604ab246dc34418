"""Algorithm 2 (MgNet) and its residual form, line by line.

Where the algorithm in the text and the authors' released code differ, the code decides, since the counts in the paper's
tables need it: Pi and R are 3x3 at stride 2 and each is followed by sigma; no pooling follows the last grid. (4.12) has
A^{l+1} u^{l+1,0} inside the restriction. Here, as in (3.7), it is outside, on the coarse grid.

Shapes: u and s (b, c_u, h, w); f and r (b, c_f, h, w).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from mgnet_verify.specification.operators import Array, add, convolve, max_pool, mean, subtract
from mgnet_verify.specification.sigma import Normalization, Rule, Sigma, evaluate


@dataclass(frozen=True, kw_only=True, eq=False)
class TransferTensors:
    """Pi and R into a grid, with the sigma after each."""

    Pi: Array
    R: Array
    sigma_Pi: Sigma
    sigma_R: Sigma


@dataclass(frozen=True, kw_only=True, eq=False)
class GridTensors:
    """One grid: A (c_f, c_u, k, k); for each iteration B (c_u, c_f, k, k), the sigma on r and the sigma on B's output."""

    A: Array
    B: tuple[Array, ...]
    sigma_r: tuple[Sigma, ...]
    sigma_u: tuple[Sigma, ...]
    transfer: TransferTensors | None = None

    @property
    def nu(self) -> int:
        """The number of smoothing iterations."""
        return len(self.B)


@dataclass(frozen=True, kw_only=True, eq=False)
class NetTensors:
    """A whole MgNet: the stem theta^0 with its sigma, the grids, and the classifier (classes, c_u), (classes,)."""

    theta: Array
    sigma_f: Sigma
    imagenet: bool
    grids: tuple[GridTensors, ...]
    weight: Array
    bias: Array

    def sigmas(self) -> Iterator[tuple[str, Normalization]]:
        """Every normalization with the name of its place."""
        yield from _named("f", self.sigma_f)
        for position, grid in enumerate(self.grids, start=1):
            if grid.transfer is not None:
                yield from _named(f"Pi, grid {position}", grid.transfer.sigma_Pi)
                yield from _named(f"R, grid {position}", grid.transfer.sigma_R)
            for i, (sigma_r, sigma_u) in enumerate(zip(grid.sigma_r, grid.sigma_u), start=1):
                yield from _named(f"r, grid {position}, step {i}", sigma_r)
                yield from _named(f"u, grid {position}, step {i}", sigma_u)


@dataclass
class GridIterates:
    """What happens on one grid: f^l (None where the residual form has none), u^{l,0..nu}, r^{l,0..nu}, s^{l,1..nu}."""

    f: Array | None
    u: list[Array] = field(default_factory=list)
    r: list[Array] = field(default_factory=list)
    s: list[Array] = field(default_factory=list)


@dataclass
class Iterates:
    """The grids' traces, the mean of u^J over the pixels (b, c_u), and the logits (b, classes)."""

    grids: list[GridIterates]
    pooled: Array
    logits: Array


def data_feature_mapping(net: NetTensors, image: Array, sigma: Rule) -> Array:
    """f^1 = sigma theta^0 * image, or R_max sigma theta^0 *_2 image for ImageNet."""
    f = sigma(net.sigma_f, convolve(net.theta, image, stride=2 if net.imagenet else 1))
    return max_pool(f) if net.imagenet else f


def correction(grid: GridTensors, i: int, r: Array, sigma: Rule) -> Array:
    """s = sigma B^{l,i} * sigma(r)."""
    return sigma(grid.sigma_u[i], convolve(grid.B[i], sigma(grid.sigma_r[i], r)))


def zero_feature(grid: GridTensors, f: Array) -> Array:
    """u^{1,0} = 0."""
    return np.zeros((f.shape[0], grid.A.shape[1], *f.shape[2:]), dtype=f.dtype)


def algorithm_2(net: NetTensors, image: Array, sigma: Rule = evaluate) -> Iterates:
    """Algorithm 2 as written: every A u evaluated, nothing carried over. `image` (b, c, h, w)."""
    f = data_feature_mapping(net, image, sigma)
    u = zero_feature(net.grids[0], f)
    traces = []
    for position, grid in enumerate(net.grids):
        if grid.transfer is not None:
            u_fine, A_fine = u, net.grids[position - 1].A
            u = interpolate(grid.transfer, u_fine, sigma)  # (3.6)
            f = add(restrict(grid.transfer, subtract(f, convolve(A_fine, u_fine)), sigma), convolve(grid.A, u))  # (3.7)
        trace = GridIterates(f, u=[u], r=[subtract(f, convolve(grid.A, u))])
        for i in range(grid.nu):
            trace.s.append(correction(grid, i, trace.r[-1], sigma))
            u = add(u, trace.s[-1])  # (3.5)
            trace.u.append(u)
            trace.r.append(subtract(f, convolve(grid.A, u)))
        traces.append(trace)
    return classify(net, traces)


def residual_iteration(net: NetTensors, image: Array, sigma: Rule = evaluate) -> Iterates:
    """The residual form: r alone is iterated, A is applied to corrections only, f^l exists on the finest grid alone.

    The feature u is carried along; no line that computes r reads it.
    """
    r = data_feature_mapping(net, image, sigma)
    u = zero_feature(net.grids[0], r)
    traces = []
    for grid in net.grids:
        if grid.transfer is not None:
            u, r = interpolate(grid.transfer, u, sigma), restrict(grid.transfer, r, sigma)  # r^{l+1,0} = sigma R *_2 r^l
        trace = GridIterates(r if grid.transfer is None else None, u=[u], r=[r])
        for i in range(grid.nu):
            trace.s.append(correction(grid, i, r, sigma))
            u = add(u, trace.s[-1])
            r = subtract(r, convolve(grid.A, trace.s[-1]))  # (4.5)
            trace.u.append(u)
            trace.r.append(r)
        traces.append(trace)
    return classify(net, traces)


def interpolate(transfer: TransferTensors, u: Array, sigma: Rule) -> Array:
    """u^{l+1,0} = sigma Pi *_2 u^l."""
    return sigma(transfer.sigma_Pi, convolve(transfer.Pi, u, stride=2))


def restrict(transfer: TransferTensors, r: Array, sigma: Rule) -> Array:
    """sigma R *_2 r^l."""
    return sigma(transfer.sigma_R, convolve(transfer.R, r, stride=2))


def classify(net: NetTensors, traces: list[GridIterates]) -> Iterates:
    """R_ave, then the affine classifier."""
    pooled = mean(traces[-1].u[-1])
    return Iterates(traces, pooled, pooled @ net.weight.T + net.bias)


def _named(place: str, sigma: Sigma) -> Iterator[tuple[str, Normalization]]:
    if sigma.normalization is not None:
        yield place, sigma.normalization
