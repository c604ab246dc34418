"""When the Winograd convolution is used: pure functions of geometry, dtype and sizes."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mgnet_kernels import DEFAULT_POLICY, Policy, is_conv3x3
from mgnet_kernels.policy import count_tiles

SIZES = st.integers(0, 600)
POLICIES = st.builds(Policy, **{f.name: st.integers(1, 300) for f in fields(Policy)})


def convolution(**options: Any) -> nn.Conv2d:
    return nn.Conv2d(4, 4, **{"kernel_size": 3, "padding": 1} | options)


@pytest.mark.parametrize("options", [{}, {"padding": "same"}, {"bias": False}, {"padding": (1, 1), "kernel_size": (3, 3)}])
def test_the_geometry_is_3x3_with_padding_1(options: dict[str, Any]) -> None:
    assert is_conv3x3(convolution(**options))


@pytest.mark.parametrize(
    "options",
    [
        {"stride": 2},
        {"padding": 0},
        {"padding": "valid"},
        {"padding": (1, 0)},
        {"groups": 2},
        {"dilation": 2},
        {"padding": "same", "dilation": 2},
        {"padding_mode": "circular"},
        {"kernel_size": 5},
        {"kernel_size": (3, 1)},
    ],
)
def test_any_other_geometry_is_another_convolution(options: dict[str, Any]) -> None:
    assert not is_conv3x3(convolution(**options))


@given(POLICIES, st.sampled_from([torch.float32, torch.bfloat16]), SIZES, SIZES, SIZES)
def test_more_channels_or_tiles_are_never_refused_where_fewer_are_allowed(
    policy: Policy, dtype: torch.dtype, c_in: int, c_out: int, tiles: int
) -> None:
    if policy.allows(dtype, c_in, c_out, tiles):
        assert c_in > 0
        assert c_out > 0
        assert tiles > 0
        assert policy.allows(dtype, c_in + 16, c_out, tiles)
        assert policy.allows(dtype, c_in, c_out + 16, tiles + 1)
        assert not policy.allows(dtype, c_in + 1, c_out, tiles)
        assert not policy.allows(torch.float64, c_in, c_out, tiles)


@given(st.integers(0, 5), st.integers(1, 40), st.integers(1, 40))
def test_tiles_cover_the_output(images: int, height: int, width: int) -> None:
    rows, columns = len(range(0, height, 4)), len(range(0, width, 4))
    assert count_tiles(images, height, width) == images * rows * columns


def test_a_policy_is_frozen_and_its_fields_are_the_arguments_of_the_operators() -> None:
    with pytest.raises(FrozenInstanceError):
        DEFAULT_POLICY.block = 1  # type: ignore[misc]
    for op in (torch.ops.mgnet.conv3x3, torch.ops.mgnet.conv3x3_grad_input, torch.ops.mgnet.conv3x3_grad_weight):
        defaults = {it.name: it.default_value for it in op.default._schema.arguments if it.kwarg_only}
        assert defaults == DEFAULT_POLICY.as_arguments()


@pytest.mark.parametrize("options", [{"block": 0}, {"shared_block": -1}])
def test_a_block_without_a_tile_is_refused(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least one tile"):
        Policy(**options)
