"""Theorem 4.1 on the model itself: what its own traces say, with A applied from the weight by numpy.

The specification's correction map is not used, so these hold for every network whose correction reads r alone, and fail
where the system is not linear or not the same in all iterations.
"""

from __future__ import annotations

from itertools import pairwise

from torch import nn

from mgnet_verify.check.assertions import require_equal
from mgnet_verify.check.example import Example, ExampleResult
from mgnet_verify.check.oracle import exact_or_undecided, oracle_of
from mgnet_verify.network.trace import Trace, traced
from mgnet_verify.specification import NetTensors, convolve, evaluate
from mgnet_verify.specification.algorithm2 import restrict
from mgnet_verify.specification.operators import subtract


def residual_of_the_feature_form(model: nn.Module, example: Example) -> ExampleResult:
    """In the feature form, r^{l,i} - r^{l,i-1} = -A (u^{l,i} - u^{l,i-1}) and r^{l+1,0} = sigma R *_2 r^{l,nu}. (4.5)"""
    right = oracle_of(model, example)
    seen = traced(right.view, right.view.forms["feature"], example.tensor())
    with exact_or_undecided() as guard:
        _require_recursion(seen, right.net)
        _require_hand_over(seen, right.net)
    return ExampleResult(bits_used=guard.bits)


def _require_recursion(seen: Trace, net: NetTensors) -> None:
    for grid, (here, tensors) in enumerate(zip(seen.grids, net.grids), start=1):
        features = here.to_A[0 if grid == 1 else 1 :]  # on coarse grids the first A u belongs to f
        for iteration, ((r, r_next), (u, u_next)) in enumerate(zip(pairwise(here.r), pairwise(features)), start=1):
            expected = subtract(r, convolve(tensors.A, subtract(u_next, u)))
            require_equal("r of the feature form", r_next, expected, grid=grid, iteration=iteration)


def _require_hand_over(seen: Trace, net: NetTensors) -> None:
    for grid, (here, tensors) in enumerate(zip(seen.grids, net.grids), start=1):
        if tensors.transfer is not None:
            right = restrict(tensors.transfer, here.to_R[0], evaluate)
            require_equal("r^{l,0} of the feature form", here.r[0], right, grid=grid, iteration=1)


def forms_agree(model: nn.Module, example: Example) -> ExampleResult:
    """Both forms give every module the same r, and the head the same u^J, bit for bit; the specification is not compared."""
    right = oracle_of(model, example)
    feature, residual = (traced(right.view, right.view.forms[name], example.tensor()) for name in ("feature", "residual"))
    for grid, (here, other) in enumerate(zip(feature.grids, residual.grids), start=1):
        for iteration, (r, r_residual) in enumerate(zip(here.r, other.r), start=1):
            require_equal("r of the residual form", r_residual, r, grid=grid, iteration=iteration)
    require_equal("u^J of the residual form", residual.to_head[0], feature.to_head[0], grid=len(right.net.grids))
    require_equal("logits of the residual form", residual.logits, feature.logits)
    return ExampleResult(bits_used=right.bits)
