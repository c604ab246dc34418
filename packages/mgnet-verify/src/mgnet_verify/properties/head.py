"""The head: pooling, classifier, their derivatives, and the methods by which timm changes them."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import nn

from mgnet_verify.check.assertions import require_equal, require_within, summation_bound
from mgnet_verify.check.example import Example, ExampleResult
from mgnet_verify.check.oracle import bound_of_logits, exact_or_undecided
from mgnet_verify.errors import Violation
from mgnet_verify.network.protocol import array
from mgnet_verify.network.subject import classifier_in, inner_of, last_feature, subject_of
from mgnet_verify.specification import Array
from mgnet_verify.specification.outcome import Classifier, Outcome


def head_as_specified(model: nn.Module, example: Example) -> ExampleResult:
    """Logits are an affine map of the pooled feature, in value and derivative, in both modes; timm's methods read and replace that.

    The derivatives of <c, logits> by weight and bias are c^T pooled and the sum of c, up to the rounding of sums over the batch.
    """
    exact: Any = inner_of(example.integer_copy(model))
    subject = subject_of(exact)
    with exact_or_undecided() as guard:
        right = subject.evaluated(example.pixels())
    u = torch.from_numpy(last_feature(right).copy())
    bound = bound_of_logits(right.pooled, classifier_in(subject))
    gap = 0.0
    for training in (False, True):
        exact.train(training)
        with torch.no_grad():
            pooled, logits = exact.forward_head(u, pre_logits=True), exact.forward_head(u)
        _require_pooled(array(pooled), right.pooled)
        gap = max(gap, require_within(f"logits of the head, training={training}", array(logits), right.logits, bound))
        gap = max(gap, _require_derivatives(exact, u, right.pooled))
    exact.eval()
    with torch.no_grad():
        require_equal("forward_features", array(exact.forward_features(example.tensor())), last_feature(right))
    classifier = exact.get_classifier()
    if classifier is not exact.head.fc or classifier.out_features != exact.num_classes != 0:
        raise Violation(f"get_classifier gives {classifier}, num_classes is {exact.num_classes}")
    _require_other_classifiers(exact, example, right.pooled)
    return ExampleResult(bits_used=guard.bits, largest_gap=gap)


def _require_pooled(pooled: Array, right: Array) -> None:
    require_within("pre_logits", pooled, right, 4 * 2.0**-53 * np.abs(right))


def _require_derivatives(exact: Any, u: torch.Tensor, pooled: Array) -> float:
    fc = exact.head.fc
    leaf = u.clone().requires_grad_(True)
    fc.requires_grad_(True)
    y = exact.forward_head(leaf)
    c = torch.from_numpy(np.random.default_rng(0).integers(1, 4, tuple(y.shape)).astype(np.float64))
    if not y.requires_grad:
        raise Violation("the logits of the head have no gradient")
    found = torch.autograd.grad((y * c).sum(), [leaf, *fc.parameters()], allow_unused=True)
    if any(g is None for g in found):
        raise Violation("the logits of the head do not depend on the feature or on a parameter of the classifier")
    factors = c.numpy()
    terms = u.shape[0] + 4
    gap = require_within(
        "derivative by the classifier's weight",
        array(found[1]),
        factors.T @ pooled,
        summation_bound(terms, np.abs(factors).T @ np.abs(pooled)),
    )
    if len(found) > 2:
        require_equal("derivative by the classifier's bias", array(found[2]), factors.sum(axis=0))
    # The feature's derivative, added over the pixels, is c W for the mean and for the maximum.
    weight = array(fc.weight)
    of_u = array(found[0]).sum(axis=(2, 3))
    bound = summation_bound(len(weight) + u.shape[2] * u.shape[3] + 4, np.abs(factors) @ np.abs(weight))
    return max(gap, require_within("derivative by the feature, over all pixels", of_u, factors @ weight, bound))


def _require_other_classifiers(exact: Any, example: Example, pooled: Array) -> None:
    before = {name: tensor.clone() for name, tensor in exact.state_dict().items() if not name.startswith("head.")}
    for classes in (7, 0):
        other = copy.deepcopy(exact)
        other.reset_classifier(classes)
        with torch.no_grad():
            y = array(other(example.tensor()))
        if classes == 0:
            _require_pooled(y, pooled)
        else:
            fc = other.get_classifier()
            net = Classifier(weight=array(fc.weight), bias=array(fc.bias))
            right = pooled @ net.weight.T + net.bias
            require_within("logits after reset_classifier", y, right, bound_of_logits(pooled, net))
            if not fc.weight.requires_grad:
                raise Violation("reset_classifier gives a classifier that is not trained")
        if other.num_classes != classes:
            raise Violation(f"num_classes is {other.num_classes} after reset_classifier({classes})")
        for name, tensor in before.items():
            if not torch.equal(other.state_dict()[name], tensor):
                raise Violation(f"reset_classifier changes {name}")


def features_are_given(model: nn.Module, example: Example) -> ExampleResult:
    """`forward_intermediates` gives the feature of every grid, with the channels and the reduction that `feature_info` states."""
    exact: Any = inner_of(example.integer_copy(model))
    subject = subject_of(exact)
    with exact_or_undecided() as guard:
        right = subject.evaluated(example.pixels())
    ends = right.ends if isinstance(right, Outcome) else [grid.u[-1] for grid in right.grids]
    info = exact.feature_info
    if len(info) != len(ends) or exact.num_features != ends[-1].shape[1]:
        raise Violation(f"{len(info)} features are announced, num_features is {exact.num_features}; there are {len(ends)}")
    with torch.no_grad():
        last, features = exact.forward_intermediates(example.tensor())
    require_equal("the last feature", array(last), last_feature(right))
    for grid, (feature, end, announced) in enumerate(zip(features, ends, info, strict=True), start=1):
        require_equal("intermediate feature", array(feature), end, grid=grid)
        if announced["num_chs"] != end.shape[1]:
            raise Violation(f"feature_info announces {announced['num_chs']} channels, there are {end.shape[1]}", grid=grid)
        reduction = announced["reduction"]
        if end.shape[2] not in (example.shape[2] // reduction, -(-example.shape[2] // reduction)):
            raise Violation(f"feature_info announces a reduction by {reduction} for {end.shape[2]} rows", grid=grid)
    return ExampleResult(bits_used=guard.bits)
