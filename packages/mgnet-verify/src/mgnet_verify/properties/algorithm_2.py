"""Both forms of a model against the specification, in evaluation, with `==`."""

from __future__ import annotations

import numpy as np
from torch import nn

from mgnet_verify.check.assertions import require_equal, require_length, require_within, summation_bound
from mgnet_verify.check.example import Example, ExampleResult
from mgnet_verify.check.oracle import oracle_of
from mgnet_verify.network.trace import Trace, traced
from mgnet_verify.specification import Array, GridIterates, Iterates, NetTensors


def equals_the_specification(model: nn.Module, example: Example) -> ExampleResult:
    """Every r, the ends u and r of every grid, and u^J of each form equal the specification's, bit for bit.

    The logits are the only inexact result. The mean rounds once and alike in both programs, since its sum is an exact integer.
    The classifier adds c_u products and a bias in an order of its own, see `summation_bound`.
    """
    right = oracle_of(model, example)
    gap = 0.0
    for name, form in right.view.forms.items():
        seen = traced(right.view, form, example.tensor())
        compare_trace(f"{name} form: ", seen, right.feature_form, counted=right.view.follows_order)
        gap = max(gap, compare_logits(f"{name} form: ", seen.logits, right.feature_form, right.net))
    return ExampleResult(bits_used=right.bits, largest_gap=gap)


def specification_obeys_the_theorem(model: nn.Module, example: Example) -> ExampleResult:
    """The specification's two forms agree in every u and r: Theorem 4.1 on these integer weights and this image."""
    right = oracle_of(model, example)
    for grid, (feature, residual) in enumerate(zip(right.feature_form.grids, right.residual_form.grids), start=1):
        for iteration, (u, r, u_residual, r_residual) in enumerate(zip(feature.u, feature.r, residual.u, residual.r)):
            require_equal("specification: r of the residual form", r_residual, r, grid=grid, iteration=iteration)
            require_equal("specification: u of the residual form", u_residual, u, grid=grid, iteration=iteration)
    return ExampleResult(bits_used=right.bits)


def compare_trace(name: str, seen: Trace, right: Iterates, *, counted: bool) -> None:
    """Everything that reached a module of the view, from the finest grid on, so that the first failure is the first fault."""
    for grid, (here, trace) in enumerate(zip(seen.grids, right.grids), start=1):
        if counted:
            require_length(f"{name}sigma on r", len(here.r), len(trace.s), grid=grid)
        for iteration, (r, r_right) in enumerate(zip(here.r, trace.r), start=1):
            require_equal(f"{name}r", r, r_right, grid=grid, iteration=iteration)
        if grid < len(right.grids):
            after = seen.grids[grid]
            for what, values, value in (("u handed to Pi", after.to_Pi, trace.u[-1]), ("r handed to R", after.to_R, trace.r[-1])):
                require_length(f"{name}{what}", len(values), 1, grid=grid + 1)
                require_equal(f"{name}{what}", values[0], value, grid=grid, iteration=len(trace.s))
    require_length(f"{name}the head", len(seen.to_head), 1)
    require_equal(f"{name}u^J", seen.to_head[0], right.grids[-1].u[-1], grid=len(right.grids), iteration=len(right.grids[-1].s))


def compare_logits(name: str, logits: Array, right: Iterates, net: NetTensors) -> float:
    """The classifier's output within the summation bound; returns the largest gap over its bound."""
    magnitudes = np.abs(right.pooled) @ np.abs(net.weight).T + np.abs(net.bias)
    bound = summation_bound(net.weight.shape[1] + 1, magnitudes)
    return require_within(f"{name}logits", logits, right.logits, bound)


def operands_of_A(model: nn.Module, example: Example) -> ExampleResult:
    """A is evaluated on the operands that the form's name promises, in that order, and on no others.

    Residual form: on each correction s but the very last. Feature form: on every u that Algorithm 2 writes A u for.
    """
    right = oracle_of(model, example)
    promised = {"residual": residual_operands(right.feature_form), "feature": feature_operands(right.feature_form)}
    for name, operands in promised.items():
        seen = traced(right.view, right.view.forms[name], example.tensor())
        for grid, (here, expected) in enumerate(zip(seen.grids, operands), start=1):
            require_length(f"{name} form: A", len(here.to_A), len(expected), grid=grid)
            for operand, expected_operand in zip(here.to_A, expected):
                require_equal(f"{name} form: operand of A", operand, expected_operand, grid=grid)
            require_length(f"{name} form: B", len(here.to_B), len(right.feature_form.grids[grid - 1].s), grid=grid)
    return ExampleResult(bits_used=right.bits)


def residual_operands(right: Iterates) -> list[list[Array]]:
    """s^{l,1..nu} on each grid; without the last one on the last grid, whose r nobody reads."""
    return [trace.s if grid < len(right.grids) else trace.s[:-1] for grid, trace in enumerate(right.grids, start=1)]


def feature_operands(right: Iterates) -> list[list[Array]]:
    """u^{l,0} for f^l (3.7), u^{l,0..nu-1} in the iteration (3.5), u^{l,nu} in the restriction to the next grid (3.7)."""
    last = len(right.grids) - 1
    return [_feature_operands(trace, first=grid == 0, last=grid == last) for grid, trace in enumerate(right.grids)]


def _feature_operands(trace: GridIterates, *, first: bool, last: bool) -> list[Array]:
    return ([] if first else trace.u[:1]) + trace.u[:-1] + ([] if last else trace.u[-1:])
