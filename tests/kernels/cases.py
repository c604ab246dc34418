"""Convolutions for the tests: integers for which the Winograd arithmetic is exact, direct results, policies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor

from mgnet_kernels import Policy, native

# Everything that the C kernel can compute, it computes.
EAGER = Policy(min_channels_float32=16, min_channels_bfloat16=16, min_tiles_float32=1, min_tiles_bfloat16=1)
# Nothing goes to the C kernel.
NEVER = Policy(min_channels_float32=2**62, min_channels_bfloat16=2**62)

SIDES = st.integers(1, 11)
FEW = st.integers(1, 5)
SIXTEENS = st.integers(1, 9).map(lambda n: 16 * n)
SEEDS = st.integers(0, 2**31)
# A relative error that the direct convolution too would come near to.
ROUNDING = 50 * 2.0**-24

needs_c = pytest.mark.skipif(native.loaded()[0] is None, reason=str(native.loaded()[1]))


def seeded(seed: int) -> torch.Generator:
    """A generator of its own."""
    return torch.Generator().manual_seed(seed)


def relative_error(seen: Tensor, wanted: Tensor) -> float:
    """In the Euclidean norm."""
    return float(((seen - wanted).norm() / wanted.norm()).detach())


def kernels() -> list[native.Kernel]:
    """Every library that this processor can run."""
    if native.loaded()[0] is None:
        return []
    found = native.find()
    return [native.Kernel(name, found[name]) for name in native.runnable() if name in found]


@contextmanager
def threads(count: int) -> Iterator[None]:
    """With so many OpenMP threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True)
class Case:
    """Inputs of one convolution and g, a gradient of its output."""

    x: Tensor
    weight: Tensor
    bias: Tensor | None
    addend: Tensor | None
    g: Tensor

    def direct(self) -> Tensor:
        """The direct convolution."""
        y = torch.conv2d(self.x, self.weight, self.bias, padding=1)
        return y if self.addend is None else y + self.addend

    def direct_gradients(self) -> tuple[Tensor, Tensor]:
        """With respect to x and to the weight."""
        return direct_gradients(self.g, self.x, self.weight)


def direct_gradients(g: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Of the direct convolution, with respect to x and to the weight."""
    of_x, of_weight, _ = torch.ops.aten.convolution_backward(
        g, x, weight, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, [True, True, False]
    )
    return of_x, of_weight


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": lambda t: t.contiguous(),
    "channels_last": lambda t: t.contiguous(memory_format=torch.channels_last),
    "transposed": lambda t: t.transpose(0, 1).contiguous().transpose(0, 1),
    "every second": lambda t: torch.stack([t, t], dim=-1).flatten(-2)[..., ::2],
}


@st.composite
def integer_cases(draw: st.DrawFn, channels: st.SearchStrategy[int]) -> Case:
    """Weights of multiples of 576, whose transforms are integers, and images of small integers, in any memory layout."""
    images, c_in, c_out, h, w = (draw(values) for values in (FEW, channels, channels, SIDES, SIDES))
    generator = seeded(draw(SEEDS))

    def integers(low: int, high: int, *shape: int) -> Tensor:
        return LAYOUTS[draw(st.sampled_from(list(LAYOUTS)))](torch.randint(low, high, shape, generator=generator).float())

    x, weight = integers(-2, 3, images, c_in, h, w), 576 * integers(-1, 2, c_out, c_in, 3, 3)
    bias = torch.randint(-9, 10, (c_out,), generator=generator).float()
    addend = integers(-9, 10, images, c_out, h, w)
    return Case(
        x=x,
        weight=weight,
        bias=draw(st.sampled_from([bias, None])),
        addend=draw(st.sampled_from([addend, None])),
        g=576 * integers(-2, 3, images, c_out, h, w),
    )


def random_case(images: int, c_in: int, c_out: int, h: int, w: int, *, dtype: torch.dtype = torch.float32, seed: int = 0) -> Case:
    """Normally distributed numbers; the weight such that outputs are of the size of inputs."""
    generator = seeded(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    weight = (normal(c_out, c_in, 3, 3).double() / (9 * c_in) ** 0.5).to(dtype)
    return Case(normal(images, c_in, h, w), weight, normal(c_out), normal(images, c_out, h, w), normal(images, c_out, h, w))
