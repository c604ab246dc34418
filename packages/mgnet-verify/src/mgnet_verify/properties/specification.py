"""Every execution of a network against the specification, in evaluation, with `==`; and the specification against the theorem."""

from __future__ import annotations

import copy
from dataclasses import replace

from torch import nn

from mgnet_verify.check.assertions import require_equal, require_length
from mgnet_verify.check.example import Example, ExampleResult
from mgnet_verify.check.executions import Copies, forms_among
from mgnet_verify.check.oracle import compare, exact_or_undecided, observed, oracle_of
from mgnet_verify.network.protocol import view_of
from mgnet_verify.network.subject import limits_of, subject_of
from mgnet_verify.network.trace import traced
from mgnet_verify.specification import Array, GridIterates, Iterates


def equals_the_specification(model: nn.Module, example: Example) -> ExampleResult:
    """In every execution the features at the ends of grids, every r, and what the head is given equal the specification's.

    The logits are the only inexact result, see `compare`. A MgNet and a GDFI have r.
    """
    exact = example.integer_copy(model)
    subject = subject_of(exact)
    with exact_or_undecided() as guard:
        right = subject.evaluated(example.pixels())
    gap, copies = 0.0, Copies(exact)
    for execution in example.of(model):
        with execution.named():
            seen = observed(copies.started(execution), example.tensor())
            gap = max(gap, compare(f"{execution}: ", seen, right, subject))
    return ExampleResult(bits_used=guard.bits, largest_gap=gap)


def sizes_as_specified(model: nn.Module, example: Example) -> ExampleResult:
    """Every form equals the specification on images of other sizes: the smallest, even, odd, flat and tall ones."""
    exact = example.integer_copy(model)
    subject, limits = subject_of(exact), limits_of(model)
    c, s = limits.channels, limits.smallest
    bits = gap = 0.0
    copies = Copies(exact)
    for b, h, w in ((1, s, s), (5, s, 2 * s), (3, 3 * s + 1, s), (1, 2 * s, 2 * s), (4, s + 1, 3 * s)):
        shaped = replace(example, shape=(b, c, h, w), image=None)
        with exact_or_undecided() as guard:
            right = subject.evaluated(shaped.pixels())
        bits = max(bits, guard.bits)
        for execution in forms_among(example.of(model)):
            with execution.named():
                seen = observed(copies.started(execution), shaped.tensor())
                gap = max(gap, compare(f"{execution}, image {b}x{c}x{h}x{w}: ", seen, right, subject))
    return ExampleResult(bits_used=bits, largest_gap=gap)


def specification_obeys_the_theorem(model: nn.Module, example: Example) -> ExampleResult:
    """The specification's two forms agree in every u and r: Theorem 4.1 on these integer weights and this image."""
    right = oracle_of(model, example)
    for grid, (feature, residual) in enumerate(zip(right.feature_form.grids, right.residual_form.grids), start=1):
        for iteration, (u, r, u_residual, r_residual) in enumerate(zip(feature.u, feature.r, residual.u, residual.r)):
            require_equal("specification: r of the residual form", r_residual, r, grid=grid, iteration=iteration)
            require_equal("specification: u of the residual form", u_residual, u, grid=grid, iteration=iteration)
    return ExampleResult(bits_used=right.bits)


def operands_of_A(model: nn.Module, example: Example) -> ExampleResult:
    """A is evaluated on the operands that the form's name promises, in that order, and on no others, in every execution.

    Residual form: on each correction s but the very last. Feature form: on every u that Algorithm 2 writes A u for.
    """
    right = oracle_of(model, example)
    promised = {"residual": residual_operands(right.feature_form), "feature": feature_operands(right.feature_form)}
    for execution in example.of(model):
        if execution.form not in promised:
            continue
        with execution.named():
            running = execution.start(copy.deepcopy(right.model))
            assert running.model is not None  # executions of a form are watched
            seen = traced(view_of(running.model), running, example.tensor())
            for grid, (here, expected) in enumerate(zip(seen.grids, promised[execution.form]), start=1):
                require_length(f"{execution}: A", len(here.to_A), len(expected), grid=grid)
                for operand, expected_operand in zip(here.to_A, expected):
                    require_equal(f"{execution}: operand of A", operand, expected_operand, grid=grid)
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
