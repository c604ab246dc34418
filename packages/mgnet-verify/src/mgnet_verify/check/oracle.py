"""The oracle: what the specification says about a model on an example, where float64 is exact; and a run compared with it.

Independence. The oracle shares with the models the configuration (`mgnet_models.Notation`, which B belongs to which
iteration), the weights (read by name, `network/`), the table rows and the data sets' sizes. It shares no arithmetic:
every convolution, normalization, iteration, transfer and derivative that a network is compared with is computed by
`mgnet_verify.specification`, in numpy, without torch and without code of mgnet-models; padding, strides and the order of
execution are the specification's own. Closed-form counts are arithmetic on a `Notation` and build no network. A mistake in
`Notation` itself is therefore not found here; tests/models/test_notation.py checks it against the paper's text.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from torch import Tensor, nn

from mgnet_verify.check.assertions import require_equal, require_length, require_within, summation_bound
from mgnet_verify.check.example import Example
from mgnet_verify.check.executions import Running
from mgnet_verify.errors import NotDecided
from mgnet_verify.network.protocol import NetworkView, array, tensors_of, view_of
from mgnet_verify.network.subject import Subject, classifier_in, head_of, inner_of, watched_view
from mgnet_verify.network.trace import Trace, traced, watching, watching_results
from mgnet_verify.specification import Array, ExactnessError, Iterates, NetTensors, algorithm_2, guarded, residual_iteration
from mgnet_verify.specification.exactness import LIMIT_BITS, Guard
from mgnet_verify.specification.outcome import Classifier, Outcome

# Unit roundoffs.
FLOAT64, FLOAT32, BFLOAT16 = 2.0**-53, 2.0**-24, 2.0**-8


@dataclass(frozen=True, kw_only=True, eq=False)
class Oracle:
    """The integer-valued copy of a MgNet, its view and tensors, and both forms of the specification on the example's image."""

    model: nn.Module
    view: NetworkView
    net: NetTensors
    feature_form: Iterates
    residual_form: Iterates
    bits: float


def oracle_of(model: nn.Module, example: Example) -> Oracle:
    """Make the integer-valued copy and run the specification. Raises NotDecided when a sum could leave exact arithmetic.

    A correct model adds the same numbers as one of the two forms, so their bounds hold for it too, in any order of
    summation.
    """
    exact = example.integer_copy(model)
    view = view_of(exact)
    net = tensors_of(view)
    with exact_or_undecided() as guard:
        feature_form = algorithm_2(net, example.pixels())
        residual_form = residual_iteration(net, example.pixels())
    return Oracle(model=exact, view=view, net=net, feature_form=feature_form, residual_form=residual_form, bits=guard.bits)


@contextmanager
def exact_or_undecided(limit_bits: int = LIMIT_BITS, *, stored_bits: int = LIMIT_BITS, rounded: bool = False) -> Iterator[Guard]:
    """`guarded`, with NotDecided in place of ExactnessError."""
    try:
        with guarded(limit_bits, stored_bits=stored_bits, rounded=rounded) as guard:
            yield guard
    except ExactnessError as error:
        raise NotDecided(str(error)) from None


@dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
    """One run: what reached the modules of a view, or the features at the ends of the grids; what the head was given; logits.

    Of a run as a graph, the logits alone.
    """

    trace: Trace | None
    ends: list[list[Array]] | None
    to_head: list[Array]
    logits: Array


def observed(running: Running, image: Tensor) -> Seen:
    """Run once and watch."""
    if running.model is None:
        return Seen(trace=None, ends=None, to_head=[], logits=array(running(image)))
    view = watched_view(running.model)
    if view is not None:
        trace = traced(view, running, image)
        return Seen(trace=trace, ends=None, to_head=trace.to_head, logits=trace.logits)
    grids: list[nn.Module] = list(cast(Any, inner_of(running.model)).grids)
    ends: list[list[Array]] = [[] for _ in grids]
    to_head: list[Array] = []
    with watching_results(list(zip(grids, ends))), watching([(head_of(running.model), to_head)]):
        logits = array(running(image))
    return Seen(trace=None, ends=ends, to_head=to_head, logits=logits)


def compare(name: str, seen: Seen, right: Iterates | Outcome, subject: Subject, *, unit: float = FLOAT64) -> float:
    """Everything that was seen against the specification, from the finest grid on; returns the logits' largest gap over its bound.

    The logits are the only inexact result: the mean rounds once, and the classifier adds c products and a bias in an order of
    its own, see `summation_bound`. `unit` is the unit roundoff of the dtype that the run is in.
    """
    if isinstance(right, Outcome):
        compare_ends(name, seen, right)
    elif seen.trace is not None:
        counted = isinstance(subject.net, tuple) or (subject.view is not None and subject.view.follows_order)
        compare_trace(name, seen.trace, right, counted=counted)
    return compare_logits(name, seen.logits, right, classifier_in(subject), unit=unit)


def compare_ends(name: str, seen: Seen, right: Outcome) -> None:
    """The feature at the end of every grid, and what the head is given."""
    for grid, (results, end) in enumerate(zip(seen.ends or [], right.ends), start=1):
        require_length(f"{name}grid {grid}", len(results), 1, grid=grid)
        require_equal(f"{name}the feature", results[0], end, grid=grid)
    if seen.ends is not None:
        require_length(f"{name}the head", len(seen.to_head), 1)
        require_equal(f"{name}the feature that the head is given", seen.to_head[0], right.last)


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


def compare_logits(
    name: str, logits: Array, right: Iterates | Outcome, net: Classifier | NetTensors, *, unit: float = FLOAT64
) -> float:
    """The classifier's output within the summation bound; returns the largest gap over its bound."""
    return require_within(f"{name}logits", logits, right.logits, bound_of_logits(right.pooled, net, unit=unit))


def bound_of_logits(pooled: Array, net: Classifier | NetTensors, *, unit: float = FLOAT64) -> Array:
    """How far apart two correct programs may have the logits (b, classes): a mean, then c products and a bias.

    With a `unit` above that of float32 sums are added in float32, and mean and logits are stored with that unit: three roundings.
    """
    magnitudes = np.abs(pooled) @ np.abs(net.weight).T + np.abs(net.bias)
    bound = summation_bound(net.weight.shape[1] + 3, magnitudes, unit=min(unit, FLOAT32))
    return bound + 3 * unit * magnitudes if unit > FLOAT32 else bound
