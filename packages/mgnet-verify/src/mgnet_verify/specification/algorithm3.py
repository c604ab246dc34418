"""Algorithm 3 (GDFI): the iteration (4.10) for a data-feature map A(u) that may be nonlinear, in the 16 schemes of Table 1.

Each evaluation of A has a sigma of its own: `A_before[i]` and `A_after[i]` belong to A(u^{l,i}); identities where the
scheme has none. With identities everywhere this is Algorithm 2.
"""

from __future__ import annotations

from dataclasses import dataclass

from mgnet_verify.specification.algorithm2 import (
    GridIterates,
    GridTensors,
    Iterates,
    NetTensors,
    classify,
    correction,
    data_feature_mapping,
    interpolate,
    restrict,
    zero_feature,
)
from mgnet_verify.specification.operators import Array, add, convolve, subtract
from mgnet_verify.specification.sigma import Rule, Sigma, evaluate


@dataclass(frozen=True, kw_only=True, eq=False)
class MapTensors:
    """The sigmas around A on one grid, one pair for each evaluation at u^{l,0}, u^{l,1}, ..."""

    A_before: tuple[Sigma, ...]
    A_after: tuple[Sigma, ...]


def apply_map(grid: GridTensors, around: MapTensors, i: int, u: Array, sigma: Rule) -> Array:
    """A^l(u^{l,i})."""
    return sigma(around.A_after[i], convolve(grid.A, sigma(around.A_before[i], u)))


def algorithm_3(net: NetTensors, maps: tuple[MapTensors, ...], image: Array, sigma: Rule = evaluate) -> Iterates:
    """Algorithm 3 as written, (4.12) with A^{l+1}(u^{l+1,0}) outside the restriction; r^{J,nu} is not evaluated."""
    f = data_feature_mapping(net, image, sigma)
    u = zero_feature(net.grids[0], f)
    traces: list[GridIterates] = []
    for grid, around in zip(net.grids, maps, strict=True):
        if grid.transfer is not None:
            u = interpolate(grid.transfer, u, sigma)  # (4.11)
            restricted = restrict(grid.transfer, traces[-1].r[-1], sigma)
            f = add(restricted, apply_map(grid, around, 0, u, sigma))  # (4.12)
        trace = GridIterates(f, u=[u])
        for i in range(grid.nu):
            trace.r.append(subtract(f, apply_map(grid, around, i, u, sigma)))
            trace.s.append(correction(grid, i, trace.r[-1], sigma))
            u = add(u, trace.s[-1])  # (4.10)
            trace.u.append(u)
        if len(traces) + 1 < len(net.grids):
            trace.r.append(subtract(f, apply_map(grid, around, grid.nu, u, sigma)))
        traces.append(trace)
    return classify(net, traces)
