"""The networks beside MgNet against the specification: Algorithm 1 (ResNet, pre-act ResNet) and Algorithm 3 (GDFI)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn

from mgnet_verify.check.assertions import require_equal, require_length, require_within, summation_bound
from mgnet_verify.check.example import Evidence, Example
from mgnet_verify.check.oracle import exact_or_undecided
from mgnet_verify.counts.closed_form.mgnet import Entry
from mgnet_verify.network.protocol import array
from mgnet_verify.network.resnet import gdfi_parts, gdfi_table, gdfi_tensors, is_gdfi, is_resnet, resnet_table, resnet_tensors
from mgnet_verify.network.trace import record
from mgnet_verify.properties.algorithm_2 import compare_logits
from mgnet_verify.specification.algorithm1 import algorithm_1
from mgnet_verify.specification.algorithm3 import algorithm_3


def equals_algorithm_1(model: nn.Module, example: Example) -> Evidence:
    """The residual at the end of every grid equals Algorithm 1's, bit for bit, and the logits up to the classifier's rounding."""
    exact = cast(Any, example.exactified(model))
    net = resnet_tensors(exact)
    with exact_or_undecided() as guard:
        traces, logits = algorithm_1(net, example.pixels())
    with torch.no_grad():
        ends = exact.forward_intermediates(example.tensor(), intermediates_only=True)
        seen = array(exact(example.tensor()))
    require_length("grids", len(ends), len(traces))
    for grid, (end, trace) in enumerate(zip(ends, traces), start=1):
        require_equal("r", array(end), trace[-1], grid=grid, step=len(trace))
    largest = abs(traces[-1][-1]).max() * 4 + 4  # sigma before the pooling: |weight| 2^k <= 2, shifts <= 2
    magnitudes = largest * abs(net.weight).sum(axis=1) + abs(net.bias)
    bound = summation_bound(net.weight.shape[1] + 2, magnitudes[None].repeat(len(seen), 0))
    return Evidence(bits_used=guard.bits, largest_gap=require_within("logits", seen, logits, bound))


def equals_algorithm_3(model: nn.Module, example: Example) -> Evidence:
    """Every r and u^J equal Algorithm 3's, bit for bit, whether the network carries r or evaluates A on u."""
    exact = example.exactified(model)
    parts = gdfi_parts(exact)
    net, maps = gdfi_tensors(exact)
    with exact_or_undecided() as guard:
        right = algorithm_3(net, maps, example.pixels())
    seen = record(parts, parts.forms["forward"], example.tensor())
    for grid, (here, trace) in enumerate(zip(seen.grids, right.grids), start=1):
        for step, (r, r_right) in enumerate(zip(here.r, trace.r), start=1):
            require_equal("r", r, r_right, grid=grid, step=step)
    require_equal("u^J", seen.to_head[0], right.grids[-1].u[-1], grid=len(right.grids))
    return Evidence(bits_used=guard.bits, largest_gap=compare_logits("", seen.logits, right, net))


@dataclass(frozen=True, kw_only=True)
class Relative:
    """A family beside MgNet: how to recognise it, the algorithm that it must equal, its closed forms on an image size."""

    recognises: Callable[[nn.Module], bool]
    check: Callable[[nn.Module, Example], Evidence]
    table: Callable[[nn.Module, tuple[int, int]], list[Entry]]

    def grids(self, model: Any) -> int:
        """The number of grids."""
        return len(model.grids)

    def stem(self, model: Any) -> nn.Conv2d:
        """theta^0."""
        return cast(nn.Conv2d, model.stem.theta)

    def imagenet(self, model: Any) -> bool:
        """Whether the stem is ImageNet's."""
        return isinstance(model.stem.R_max, nn.MaxPool2d)


RELATIVES = (
    Relative(recognises=is_resnet, check=equals_algorithm_1, table=resnet_table),
    Relative(recognises=is_gdfi, check=equals_algorithm_3, table=gdfi_table),
)


def relative_of(model: nn.Module) -> Relative | None:
    """The family of a network, None for a MgNet and for networks that are not this project's."""
    return next((relative for relative in RELATIVES if relative.recognises(model)), None)
