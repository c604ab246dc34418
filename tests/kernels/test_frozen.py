"""A frozen weight: the numbers of `conv3x3`, whatever happens to the weight between two calls."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from kernels.cases import EAGER as EVERYTHING
from kernels.cases import NEVER
from mgnet_kernels import FrozenWeight, conv3x3


def tensors(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x, weight, bias, addend of a small convolution with 16 and 32 channels."""
    generator = torch.Generator().manual_seed(0)
    shapes = ((2, 16, 9, 7), (32, 16, 3, 3), (32,), (2, 32, 9, 7))
    x, weight, bias, addend = (torch.randn(shape, generator=generator).to(dtype) for shape in shapes)
    return x, weight, bias, addend


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_frozen_weight_computes_the_bits_of_the_operator(dtype: torch.dtype) -> None:
    x, weight, bias, addend = tensors(dtype)
    frozen = FrozenWeight()
    right = conv3x3(x, weight, bias, addend, policy=EVERYTHING)
    for _ in range(2):  # the second call uses what the first one kept
        assert torch.equal(frozen.conv3x3(x, weight, bias, addend, policy=EVERYTHING), right)


def test_a_negated_one_subtracts() -> None:
    x, weight, _, addend = tensors()
    frozen = FrozenWeight(negated=True)
    right = conv3x3(x, -weight, None, addend, policy=EVERYTHING)
    for _ in range(2):
        assert torch.equal(frozen.conv3x3(x, weight, None, addend, policy=EVERYTHING), right)


@pytest.mark.parametrize("negated", [False, True])
def test_a_convolution_too_small_for_the_kernel_is_the_direct_one(negated: bool) -> None:
    x, weight, bias, addend = tensors()
    frozen = FrozenWeight(negated=negated)
    sign = -1 if negated else 1
    for b in (None, bias):
        for a in (None, addend):
            right = conv3x3(x, sign * weight, b, a, policy=NEVER)
            torch.testing.assert_close(frozen.conv3x3(x, weight, b, a, policy=NEVER), right)


def _by_data(weight: Tensor) -> None:
    weight.data.mul_(2)


def _by_numpy(weight: Tensor) -> None:
    weight.detach().numpy()[3, 5, 1, 1] += 1


def _by_copy(weight: Tensor) -> None:
    weight.copy_(torch.ones_like(weight))


def _in_one_number(weight: Tensor) -> None:
    weight[31, 15, 2, 2] += 2.0**-10


@pytest.mark.parametrize("change", [_by_data, _by_numpy, _by_copy, _in_one_number])
def test_a_change_of_the_weight_is_noticed_however_it_is_made(change: Callable[[Tensor], None]) -> None:
    x, weight, _, _ = tensors()
    frozen = FrozenWeight()
    before = frozen.conv3x3(x, weight, policy=EVERYTHING)
    with torch.inference_mode():
        change(weight)
    after = frozen.conv3x3(x, weight, policy=EVERYTHING)
    assert torch.equal(after, conv3x3(x, weight, policy=EVERYTHING))
    assert not torch.equal(after, before)


def test_another_weight_of_the_same_shape_is_another_weight() -> None:
    x, weight, _, _ = tensors()
    frozen = FrozenWeight()
    frozen.conv3x3(x, weight, policy=EVERYTHING)
    other = weight.flip(0)
    assert torch.equal(frozen.conv3x3(x, other, policy=EVERYTHING), conv3x3(x, other, policy=EVERYTHING))
    half = weight.bfloat16()
    assert torch.equal(frozen.conv3x3(x.bfloat16(), half, policy=EVERYTHING), conv3x3(x.bfloat16(), half, policy=EVERYTHING))


def test_gradients_of_both_orders_and_tangents_are_those_of_the_operator() -> None:
    x, weight, bias, addend = tensors()
    weight.requires_grad_()
    frozen = FrozenWeight()

    def penalty(convolve: Callable[..., Tensor]) -> Tensor:
        images = x.clone().requires_grad_()
        y = convolve(images, weight, bias, addend, policy=EVERYTHING)
        (gradient,) = torch.autograd.grad((y**2).sum(), images, create_graph=True)
        return torch.autograd.grad((gradient**2).sum(), weight)[0]

    assert torch.equal(penalty(frozen.conv3x3), penalty(conv3x3))
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, torch.ones_like(x))
        y = frozen.conv3x3(dual, weight.detach(), policy=EVERYTHING)
        assert torch.autograd.forward_ad.unpack_dual(y).tangent is not None


def test_autocast_is_the_one_of_the_operator() -> None:
    x, weight, _, _ = tensors()
    frozen = FrozenWeight()
    frozen.conv3x3(x, weight, policy=EVERYTHING)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        y = frozen.conv3x3(x, weight, policy=EVERYTHING)
        assert y.dtype == torch.bfloat16
        assert torch.equal(y, conv3x3(x, weight, policy=EVERYTHING))


def test_shapes_that_do_not_fit_are_rejected_as_the_operator_rejects_them() -> None:
    x, weight, _, addend = tensors()
    frozen = FrozenWeight()
    with pytest.raises(RuntimeError, match="does not fit"):
        frozen.conv3x3(x[:, :8], weight, policy=EVERYTHING)
    with pytest.raises(RuntimeError, match="does not fit"):
        frozen.conv3x3(x, weight, None, addend[:1], policy=EVERYTHING)


def test_copies_and_pickles_start_without_what_was_kept() -> None:
    x, weight, _, _ = tensors()
    frozen = FrozenWeight(negated=True)
    right = frozen.conv3x3(x, weight, policy=EVERYTHING)
    for other in (copy.deepcopy(frozen), pickle.loads(pickle.dumps(frozen))):
        assert torch.equal(other.conv3x3(x, weight, policy=EVERYTHING), right)
    assert len(pickle.dumps(frozen)) < 200


def test_threads_that_share_one_see_whole_states() -> None:
    x, weight, _, _ = tensors()
    weights = [weight * scale for scale in (1.0, 2.0, 3.0)]
    frozen = FrozenWeight()
    right = [conv3x3(x, one, policy=EVERYTHING) for one in weights]
    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(lambda n: frozen.conv3x3(x, weights[n % 3], policy=EVERYTHING), range(60)))
    assert all(torch.equal(result, right[n % 3]) for n, result in enumerate(results))
