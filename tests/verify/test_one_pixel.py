"""Version 1, section 3.3: why the convolution that pools in a ResNet is 3x3: 1x1 kernels of stride 2 leave pixels unseen."""

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch

from mgnet_models import MgResNet
from mgnet_verify.specification.operators import convolve

SIZE = 6


def one_pixel(i: int, j: int) -> np.ndarray:
    r = np.zeros((1, 1, SIZE, SIZE))
    r[0, 0, i, j] = 1.0
    return r


@pytest.mark.parametrize("i, j", list(product(range(SIZE), repeat=2)))
def test_restriction_by_a_1x1_kernel_sees_a_quarter_of_the_pixels_and_a_3x3_kernel_all(i: int, j: int) -> None:
    """S(R * r) = 0 off the coarse grid for every 1x1 kernel R, and S(B * r) != 0 for some 3x3 kernel B, exactly."""
    kept = i % 2 == 0 and j % 2 == 0
    restricted = convolve(np.full((1, 1, 1, 1), 7.0), one_pixel(i, j), stride=2)
    assert restricted.any() == kept
    assert restricted.sum() == 7.0 * kept
    pooled = convolve(np.ones((1, 1, 3, 3)), one_pixel(i, j), stride=2)
    assert pooled.sum() == (1 + i % 2 * (i + 1 < SIZE)) * (1 + j % 2 * (j + 1 < SIZE))  # coarse pixels within one row and column


@pytest.mark.parametrize("pooling_B, sees_all", [("lift_s1", True), ("text", True), ("lift", False), ("proj1x1", False)])
@pytest.mark.parametrize("preact", [True, False], ids=["pre-act ResNet", "ResNet"])
def test_of_the_interpretations_of_the_pooling_block_two_see_every_pixel(preact: bool, pooling_B: Any, sees_all: bool) -> None:
    """The derivative of the first coarse block by each pixel of r is exactly zero, or it is not."""
    network = MgResNet(
        blocks=(1, 1),
        channels=(4, 6),
        share_A=True,
        share_B=True,
        preact=preact,
        pooling_B=pooling_B,
        num_classes=3,
        dtype=torch.float64,
    )
    block = network.eval().grids[1]
    r = torch.rand(32, 4, SIZE, SIZE, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(block(r).square().sum(), r)
    seen = gradient.abs().amax(dim=(0, 1)) > 0
    even = torch.arange(SIZE) % 2 == 0
    assert seen[even][:, even].all()
    assert bool(seen.all()) == sees_all
    if not sees_all:
        assert int(seen.sum()) == SIZE**2 // 4
