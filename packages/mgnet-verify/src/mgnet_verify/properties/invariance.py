"""What must not change, what must scale, and what must grow: purity, homogeneity, blindness of r to Pi, monotone u."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from torch import nn

from mgnet_verify.check.assertions import require_equal
from mgnet_verify.check.example import Example, ExampleResult
from mgnet_verify.check.integer_weights import sparse_signs
from mgnet_verify.check.oracle import oracle_of
from mgnet_verify.errors import Violation
from mgnet_verify.network.protocol import array, sigma_of, view_of
from mgnet_verify.network.trace import traced
from mgnet_verify.properties.training import norms_of


def evaluation_is_pure(model: nn.Module, example: Example) -> ExampleResult:
    """In evaluation each form gives the same bits twice, changes no tensor and not the image, and treats images one by one."""
    right = oracle_of(model, example)
    before = {name: tensor.clone() for name, tensor in right.model.state_dict().items()}
    for name, form in right.view.forms.items():
        image = example.tensor()
        first, second = (traced(right.view, form, image) for _ in range(2))
        apart = np.concatenate([traced(right.view, form, one).to_head[0] for one in image.split(1)])
        require_equal(f"{name} form, run again: logits", second.logits, first.logits)
        require_equal(f"{name} form, image by image: u^J", apart, first.to_head[0])
        require_equal(f"{name} form: the image after the run", array(image), example.pixels())
    for key, tensor in right.model.state_dict().items():
        if not torch.equal(tensor, before[key]):
            raise Violation(f"evaluation changes {key}")
    return ExampleResult(bits_used=right.bits)


def homogeneous_without_shifts(model: nn.Module, example: Example) -> ExampleResult:
    """With every shift of sigma and of the classifier set to 0, scaling the image by 4 scales u^J and the logits by 4.

    Convolutions are linear and sigma positively homogeneous; a factor of two scales every float64 without rounding.
    """
    right = oracle_of(model, example)
    with torch.no_grad():
        for norm in norms_of(right.view):
            for shift in (norm.bias, norm.running_mean):
                if shift is not None:
                    shift.zero_()
        if right.view.classifier.bias is not None:
            right.view.classifier.bias.zero_()
    for name, form in right.view.forms.items():
        once, scaled = traced(right.view, form, example.tensor()), traced(right.view, form, 4 * example.tensor())
        require_equal(f"{name} form: u^J of 4 x", scaled.to_head[0], 4 * once.to_head[0])
        require_equal(f"{name} form: logits of 4 x", scaled.logits, 4 * once.logits)
    return ExampleResult(bits_used=right.bits)


def residuals_do_not_see_Pi(model: nn.Module, example: Example) -> ExampleResult:
    """Other weights in every Pi change no residual on any grid: u enters f^{l+1} as A Pi u and leaves r^{l+1,0} = R r."""
    right = oracle_of(model, example)
    before = {name: traced(right.view, form, example.tensor()) for name, form in right.view.forms.items()}
    rng = np.random.default_rng([example.seed, 5])
    with torch.no_grad():
        for coarse in right.view.grids:
            if coarse.transfer is not None:
                kernel = coarse.transfer.Pi.weight
                kernel.copy_(torch.from_numpy(sparse_signs(tuple(kernel.shape), rng, 2)))
    for name, form in right.view.forms.items():
        after = traced(right.view, form, example.tensor())
        for grid, (here, there) in enumerate(zip(before[name].grids, after.grids), start=1):
            for iteration, (r, r_after) in enumerate(zip(here.r, there.r), start=1):
                require_equal(f"{name} form: r with another Pi", r_after, r, grid=grid, iteration=iteration)
    return ExampleResult(bits_used=right.bits)


def features_grow_within_a_grid(model: nn.Module, example: Example) -> ExampleResult:
    """u^{l,i} >= u^{l,i-1} in every entry, since corrections end in ReLU; and u >= 0 from a start that is >= 0.

    The start of a coarse grid is >= 0 where Pi is followed by a sigma that ends in ReLU. The linear Pi of
    Algorithm 2 has none: there u may be negative, and its sign is not checked.
    """
    right = oracle_of(model, example)
    seen = traced(right.view, right.view.forms["feature"], example.tensor())
    for grid, (here, view) in enumerate(zip(seen.grids, right.view.grids), start=1):
        features = here.to_A[0 if grid == 1 else 1 :]
        for iteration, (u, u_next) in enumerate(pairwise(features), start=1):
            if not (u_next >= u).all():
                raise Violation("u decreases", grid=grid, iteration=iteration)
        if (view.transfer is None or sigma_of(view.transfer.sigma_Pi).relu) and any((u < 0).any() for u in features):
            raise Violation("u is negative", grid=grid)
    return ExampleResult(bits_used=right.bits)


def norms_as_released(model: nn.Module, example: Example) -> ExampleResult:
    """Every BatchNorm has torch's eps of 1e-5, momentum of 0.1, trained weights and running statistics, as the released code."""
    for norm in norms_of(view_of(model)):
        settings = (norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        if settings != (1e-5, 0.1, True, True):
            raise Violation(f"a BatchNorm has eps, momentum, affine, track_running_stats = {settings}")
    return ExampleResult()
