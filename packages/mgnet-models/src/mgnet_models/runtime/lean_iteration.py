"""Smoothing iterations whose backward pass recomputes what plain autograd would keep.

Of one iteration plain autograd keeps four full tensors: r, sigma(r), B * sigma(r) and s. Here a run of iterations keeps
the r it starts from and, if asked, the B * sigma(r) of its one iteration. A grid is not invertible: r + A * u = f is
conserved, so u holds nothing that r lacks, and r must be kept or recomputed.

Shapes: u and s (b, c_u, h, w); f and r (b, c_f, h, w). `smoothed` is B * sigma(r), like s.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from mgnet_models.runtime import winograd
from mgnet_models.runtime.batch_normalisation import NormSettings, Statistics, sigma, sigma_again, sigma_backward


@dataclass(frozen=True, kw_only=True)
class Run:
    """Which iterations one call does: the two norms and the position of B of each, and what the call keeps.

    `updates_r` is False where the last iteration of the last grid leaves A out. `keeps_smoothed` is for one iteration.
    `in_short_way` says that convolutions take it where it pays (`mgnet_models.runtime.winograd`), in both passes.
    """

    norms: tuple[tuple[NormSettings, NormSettings], ...]
    positions_B: tuple[int, ...]
    updates_r: bool
    keeps_smoothed: bool
    in_short_way: bool

    def has_A(self, i: int) -> bool:
        """Whether iteration i of the run updates r."""
        return self.updates_r or i < len(self.norms) - 1

    def convolve(self, x: Tensor, weight: Tensor) -> Tensor:
        """x convolved with the weight, zero padding of half a kernel."""
        x = x.to(weight.dtype)
        if self._is_short(x, weight):
            return winograd.convolve(x, winograd.transform_kernels(weight))
        return F.conv2d(x, weight, padding=weight.shape[-1] // 2)

    def convolve_backward(self, g: Tensor, x: Tensor, weight: Tensor, with_weight: bool) -> tuple[Tensor, Tensor | None]:
        """Gradients of x and, if asked for, of the weight, given that of the convolution's result."""
        g, x = g.to(weight.dtype), x.to(weight.dtype)
        if self._is_short(x, weight):
            return winograd.image_gradient(g, weight), winograd.kernel_gradient(x, g) if with_weight else None
        half = [weight.shape[-1] // 2] * 2
        g_x, g_weight, _ = torch.ops.aten.convolution_backward(
            g, x, weight, None, [1, 1], half, [1, 1], False, [0, 0], 1, [True, with_weight, False]
        )
        return g_x, g_weight

    def _is_short(self, x: Tensor, weight: Tensor) -> bool:
        return self.in_short_way and winograd.is_short(weight, 1, 1, 1, 1) and winograd.pays(x, weight, weight.dtype)


class Weights(NamedTuple):
    """The tensors of a run: A, each B once, weight and bias of both norms of each iteration, and its drop-path factors."""

    A: Tensor
    B: tuple[Tensor, ...]
    norms: tuple[tuple[Tensor, Tensor, Tensor, Tensor], ...]
    drop: tuple[Tensor | None, ...]

    def flat(self) -> list[Tensor | None]:
        """All of them in the order in which `of` reads them; autograd takes flat arguments only."""
        return [self.A, *self.B, *(tensor for four in self.norms for tensor in four), *self.drop]

    @classmethod
    def of(cls, flat: Any, run: Run) -> Weights:
        """Read a flat list; gradients and flags travel in the same order."""
        count, first = len(run.norms), 1 + len(set(run.positions_B))
        after = first + 4 * count
        norms = tuple(tuple(flat[k : k + 4]) for k in range(first, after, 4))
        return cls(A=flat[0], B=tuple(flat[1:first]), norms=norms, drop=tuple(flat[after:]))


class _Point(NamedTuple):
    """Where one iteration stood in the first pass. `h` is sigma(r) if it is still at hand."""

    r: Tensor
    h: Tensor | None
    smoothed: Tensor
    statistics_r: Statistics
    statistics_u: Statistics


class Iterations(torch.autograd.Function):
    """(u, r) -> (u, r) after the iterations of a run; gradients and running statistics as plain autograd has them.

    First derivatives only. The weights of A and B come in the dtype in which the convolutions compute.
    """

    @staticmethod
    def forward(ctx: Any, run: Run, u: Tensor, r: Tensor, *flat: Tensor | None) -> tuple[Tensor, Tensor]:
        weights, start, smoothed = Weights.of(flat, run), r, r
        ctx.run, ctx.u_shape, ctx.u_dtype = run, u.shape, u.dtype
        kept: list[Tensor] = []
        with torch.autocast(r.device.type, enabled=False):
            for i, (weight_r, bias_r, weight_u, bias_u) in enumerate(weights.norms):
                norm_r, norm_u = run.norms[i]
                h, statistics_r = sigma(r, weight_r, bias_r, norm_r)
                smoothed = run.convolve(h, weights.B[run.positions_B[i]])
                s, statistics_u = sigma(smoothed, weight_u, bias_u, norm_u)
                s = _drop(s, weights.drop[i])
                kept += [*statistics_r, *statistics_u]
                u = u + s if i == 0 else u.add_(s)
                if run.has_A(i):
                    r = _minus(r, run.convolve(s, weights.A))  # (4.5)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(smoothed if run.keeps_smoothed else None, start, *kept, *flat)
        return u, r

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g_u: Tensor | None, g_r: Tensor | None) -> tuple[Any, ...]:
        run: Run = ctx.run
        smoothed, start, *rest = ctx.saved_tensors
        count = 4 * len(run.norms)
        statistics = [(Statistics(*rest[k : k + 2]), Statistics(*rest[k + 2 : k + 4])) for k in range(0, count, 4)]
        weights = Weights.of(rest[count:], run)
        pull = _Pullback(run, weights, Weights.of(ctx.needs_input_grad[3:], run))
        with torch.autocast(start.device.type, enabled=False):
            points = _replay(run, weights, statistics, start, smoothed)
            for i in reversed(range(len(run.norms))):
                g_r = pull.iteration(i, points.pop(), g_u, g_r)
        g_start_u = g_u.sum_to_size(ctx.u_shape).to(ctx.u_dtype) if g_u is not None and ctx.needs_input_grad[1] else None
        return None, g_start_u, g_r, *pull.gradients()


def _replay(
    run: Run, weights: Weights, statistics: list[tuple[Statistics, Statistics]], r: Tensor, smoothed: Tensor | None
) -> list[_Point]:
    """The points of the first pass again, from its start; only the last keeps sigma(r), which is needed at once."""
    points = []
    last = len(run.norms) - 1
    for i, (weight_r, bias_r, weight_u, bias_u) in enumerate(weights.norms):
        statistics_r, statistics_u = statistics[i]
        h = sigma_again(r, weight_r, bias_r, statistics_r)
        if smoothed is None or i < last:
            smoothed = run.convolve(h, weights.B[run.positions_B[i]])
        points.append(_Point(r, h if i == last else None, smoothed, statistics_r, statistics_u))
        if i < last:
            s = _drop(sigma_again(smoothed, weight_u, bias_u, statistics_u), weights.drop[i])
            r = _minus(r, run.convolve(s, weights.A))  # (4.5)
            smoothed = None
    return points


class _Pullback:
    """The chain rule through one iteration after the other, adding up the gradients of the weights."""

    def __init__(self, run: Run, weights: Weights, wanted: Weights) -> None:
        self._run, self._weights, self._wanted = run, weights, wanted
        self._A: Tensor | None = None
        self._B: list[Tensor | None] = [None] * len(weights.B)
        self._norms: list[tuple[Tensor | None, ...]] = [(None,) * 4] * len(run.norms)

    def iteration(self, i: int, point: _Point, g_u: Tensor | None, g_r: Tensor | None) -> Tensor | None:
        """The gradient of the residual before iteration i, given those of u and r after it."""
        run, weights, position = self._run, self._weights, self._run.positions_B[i]
        weight_r, bias_r, weight_u, bias_u = weights.norms[i]
        norm_r, norm_u = run.norms[i]
        s = sigma_again(point.smoothed, weight_u, bias_u, point.statistics_u)
        g_s = self._correction(i, s, g_u, g_r)
        if g_s is None:
            return g_r
        g_s = _drop(g_s, weights.drop[i])
        g, *of_norm_u = sigma_backward(g_s, point.smoothed, s, weight_u, point.statistics_u, by_batch=norm_u.by_batch)
        h = sigma_again(point.r, weight_r, bias_r, point.statistics_r) if point.h is None else point.h
        g, of_B = run.convolve_backward(g, h, weights.B[position], bool(self._wanted.B[position]))
        self._B[position] = _sum(self._B[position], of_B)
        g, *of_norm_r = sigma_backward(g, point.r, h, weight_r, point.statistics_r, by_batch=norm_r.by_batch)
        self._norms[i] = (*of_norm_r, *of_norm_u)
        return g if g_r is None else g.add_(g_r)

    def gradients(self) -> list[Tensor | None]:
        """Those of the weights, in the order of the flat arguments; drop-path factors have none."""
        A = None if self._A is None else self._A.neg_()
        return [A, *self._B, *(gradient for four in self._norms for gradient in four), *([None] * len(self._norms))]

    def _correction(self, i: int, s: Tensor, g_u: Tensor | None, g_r: Tensor | None) -> Tensor | None:
        """The gradient of s, which u gains and A * takes from r; None where the result depends on neither."""
        if g_r is None or not self._run.has_A(i):
            return g_u
        dropped = _drop(s, self._weights.drop[i])
        g, of_A = self._run.convolve_backward(g_r, dropped, self._weights.A, bool(self._wanted.A))
        self._A = _sum(self._A, of_A)
        return g.neg_() if g_u is None else _minus(g_u, g)


def _minus(x: Tensor, y: Tensor) -> Tensor:
    """x - y in the memory of y, a scratch tensor, where the dtypes allow it."""
    return torch.sub(x, y, out=y) if x.dtype == y.dtype else x - y


def _drop(s: Tensor, factors: Tensor | None) -> Tensor:
    return s if factors is None else s * factors


def _sum(total: Tensor | None, gradient: Tensor | None) -> Tensor | None:
    return gradient if total is None or gradient is None else total.add_(gradient)
