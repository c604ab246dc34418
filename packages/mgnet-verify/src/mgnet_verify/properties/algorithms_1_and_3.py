"""ResNet, pre-act ResNet and GDFI against the specification: Algorithm 1 and Algorithm 3."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn

from mgnet_verify.check.assertions import require_equal, require_length, require_within, summation_bound
from mgnet_verify.check.example import Example, ExampleResult
from mgnet_verify.check.oracle import exact_or_undecided
from mgnet_verify.network.gdfi import gdfi_tensors, gdfi_view
from mgnet_verify.network.protocol import array
from mgnet_verify.network.resnet import resnet_tensors
from mgnet_verify.network.trace import traced
from mgnet_verify.properties.algorithm_2 import compare_logits
from mgnet_verify.specification.algorithm1 import algorithm_1
from mgnet_verify.specification.algorithm3 import algorithm_3


def equals_algorithm_1(model: nn.Module, example: Example) -> ExampleResult:
    """The residual at the end of every grid equals Algorithm 1's, bit for bit, and the logits up to the classifier's rounding."""
    exact = cast(Any, example.integer_copy(model))
    net = resnet_tensors(exact)
    with exact_or_undecided() as guard:
        traces, logits = algorithm_1(net, example.pixels())
    with torch.no_grad():
        ends = exact.forward_intermediates(example.tensor(), intermediates_only=True)
        seen = array(exact(example.tensor()))
    require_length("grids", len(ends), len(traces))
    for grid, (end, trace) in enumerate(zip(ends, traces), start=1):
        require_equal("r", array(end), trace[-1], grid=grid, iteration=len(trace))
    largest = abs(traces[-1][-1]).max() * 4 + 4  # sigma before the pooling: |weight| 2^k <= 2, shifts <= 2
    magnitudes = largest * abs(net.weight).sum(axis=1) + abs(net.bias)
    bound = summation_bound(net.weight.shape[1] + 2, magnitudes[None].repeat(len(seen), 0))
    return ExampleResult(bits_used=guard.bits, largest_gap=require_within("logits", seen, logits, bound))


def equals_algorithm_3(model: nn.Module, example: Example) -> ExampleResult:
    """Every r and u^J equal Algorithm 3's, bit for bit, whether the network carries r or evaluates A on u."""
    exact = example.integer_copy(model)
    view = gdfi_view(exact)
    net, maps = gdfi_tensors(exact)
    with exact_or_undecided() as guard:
        right = algorithm_3(net, maps, example.pixels())
    seen = traced(view, view.forms["forward"], example.tensor())
    for grid, (here, trace) in enumerate(zip(seen.grids, right.grids), start=1):
        for iteration, (r, r_right) in enumerate(zip(here.r, trace.r), start=1):
            require_equal("r", r, r_right, grid=grid, iteration=iteration)
    require_equal("u^J", seen.to_head[0], right.grids[-1].u[-1], grid=len(right.grids))
    return ExampleResult(bits_used=guard.bits, largest_gap=compare_logits("", seen.logits, right, net))
