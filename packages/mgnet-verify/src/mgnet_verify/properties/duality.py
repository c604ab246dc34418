"""Theorem 4.1 on the model itself: what its own traces say, with A applied from the weight by numpy.

The specification's correction map is not used, so these hold for every network whose correction reads r alone, and fail
where the system is not linear or not the same in all iterations.
"""

from __future__ import annotations

from itertools import pairwise

from torch import nn

from mgnet_verify.check.assertions import require_equal
from mgnet_verify.check.example import Evidence, Example
from mgnet_verify.check.oracle import exact_or_undecided, reference
from mgnet_verify.network.trace import Record, record
from mgnet_verify.specification import NetTensors, convolve, evaluate
from mgnet_verify.specification.algorithm2 import restrict
from mgnet_verify.specification.operators import subtract


def residual_of_the_literal_form(model: nn.Module, example: Example) -> Evidence:
    """In the literal form, r^{l,i} - r^{l,i-1} = -A (u^{l,i} - u^{l,i-1}) and r^{l+1,0} = sigma R *_2 r^{l,nu}. (4.5)"""
    right = reference(model, example)
    seen = record(right.parts, right.parts.forms["literal"], example.tensor())
    with exact_or_undecided() as guard:
        _require_recursion(seen, right.net)
        _require_hand_over(seen, right.net)
    return Evidence(bits_used=guard.bits)


def _require_recursion(seen: Record, net: NetTensors) -> None:
    for grid, (here, tensors) in enumerate(zip(seen.grids, net.grids), start=1):
        features = here.to_A[0 if grid == 1 else 1 :]  # on coarse grids the first A u belongs to f
        for step, ((r, r_next), (u, u_next)) in enumerate(zip(pairwise(here.r), pairwise(features)), start=1):
            expected = subtract(r, convolve(tensors.A, subtract(u_next, u)))
            require_equal("r of the literal form", r_next, expected, grid=grid, step=step)


def _require_hand_over(seen: Record, net: NetTensors) -> None:
    for grid, (here, tensors) in enumerate(zip(seen.grids, net.grids), start=1):
        if tensors.transfer is not None:
            right = restrict(tensors.transfer, here.to_R[0], evaluate)
            require_equal("r^{l,0} of the literal form", here.r[0], right, grid=grid, step=1)


def forms_agree(model: nn.Module, example: Example) -> Evidence:
    """Both forms give every part the same r, and the head the same u^J, bit for bit; the specification is not compared."""
    right = reference(model, example)
    literal, residual = (record(right.parts, right.parts.forms[name], example.tensor()) for name in ("literal", "residual"))
    for grid, (here, dual) in enumerate(zip(literal.grids, residual.grids), start=1):
        for step, (r, r_dual) in enumerate(zip(here.r, dual.r), start=1):
            require_equal("r of the residual form", r_dual, r, grid=grid, step=step)
    require_equal("u^J of the residual form", residual.to_head[0], literal.to_head[0], grid=len(right.net.grids))
    require_equal("logits of the residual form", residual.logits, literal.logits)
    return Evidence(bits_used=right.bits)
