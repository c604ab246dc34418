"""Conversion to the modified pre-act ResNet (4.6), which iterates on r, and the gauge freedom of (u, f)."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from mgnet_models.mgnet.duality import to_mgnet, to_preact_resnet
from mgnet_verify.check.assertions import require_equal, require_length
from mgnet_verify.check.example import Example, ExampleResult
from mgnet_verify.check.oracle import exact_or_undecided, oracle_of
from mgnet_verify.errors import Violation
from mgnet_verify.network.protocol import array
from mgnet_verify.specification import convolve
from mgnet_verify.specification.operators import add


def preact_resnet_has_the_residuals(model: nn.Module, example: Example) -> ExampleResult:
    """Converted to a modified pre-act ResNet, the network's feature on each grid is the residual r^{l,nu} of the MgNet. (4.6)"""
    return require_conversion(model, example, to_preact_resnet, to_mgnet)


def require_conversion(
    model: nn.Module, example: Example, to_preact_resnet: Callable[..., Any], to_mgnet: Callable[..., Any]
) -> ExampleResult:
    """The property for any pair of conversions: the residuals, nothing changed in the original, the way back without loss."""
    right = oracle_of(model, example)
    before = {name: tensor.clone() for name, tensor in right.model.state_dict().items()}
    resnet = to_preact_resnet(right.model)
    with torch.no_grad():
        residuals = resnet.forward_intermediates(example.tensor(), intermediates_only=True)
        last = resnet.forward_features(example.tensor())
    require_length("features of the pre-act ResNet", len(residuals), len(right.feature_form.grids))
    for grid, (r, iterates) in enumerate(zip(residuals, right.feature_form.grids), start=1):
        require_equal("r of the pre-act ResNet", array(r), iterates.r[-1], grid=grid, iteration=len(iterates.s))
    require_equal("r^J of the pre-act ResNet", array(last), right.feature_form.grids[-1].r[-1], grid=len(residuals))
    back = to_mgnet(resnet, completed_by=right.model)
    for name, tensor in before.items():
        if not torch.equal(right.model.state_dict()[name], tensor):
            raise Violation(f"conversion changes {name} of the network it is given")
        if not torch.equal(back.state_dict()[name], tensor):
            raise Violation(f"conversion there and back changes {name}")
    return ExampleResult(bits_used=right.bits)


def gauge_freedom(model: nn.Module, example: Example) -> ExampleResult:
    """On each grid, (u^{l,0} + k, f^l + A k) in place of (u^{l,0}, f^l) moves every u by k and no residual, for every field k."""
    right = oracle_of(model, example)
    rng = np.random.default_rng([example.seed, 7])
    grids = cast(Any, right.model).grids
    for number, (grid, tensors, trace) in enumerate(zip(grids, right.net.grids, right.feature_form.grids), start=1):
        k = rng.integers(-5, 6, trace.u[0].shape).astype(np.float64)
        with exact_or_undecided():
            assert trace.f is not None  # Algorithm 2 has f on every grid
            f = add(trace.f, convolve(tensors.A, k))
            expected = add(trace.u[-1], k)
        start = add(trace.u[0], k)
        with torch.no_grad():
            end = copy.deepcopy(grid).feature_iteration(torch.from_numpy(start), torch.from_numpy(f))
        require_equal("u after a shift of (u, f)", array(end), expected, grid=number, iteration=len(trace.s))
    return ExampleResult(bits_used=right.bits)
