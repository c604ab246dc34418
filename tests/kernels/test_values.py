"""The Winograd convolution equals the direct one: to the bit where its arithmetic is exact, within a derived bound elsewhere."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from kernels.cases import (
    EAGER,
    FEW,
    ROUNDING,
    SEEDS,
    SIDES,
    SIXTEENS,
    Case,
    direct_gradients,
    integer_cases,
    kernels,
    needs_c,
    random_case,
    relative_error,
    threads,
)
from mgnet_kernels import Policy, backend, native, reference

KERNELS = kernels()
each_kernel = pytest.mark.parametrize("kernel", KERNELS, ids=[kernel.name for kernel in KERNELS])


def on_cpu_defaults(kernel: native.Kernel, case: Case) -> tuple[Tensor, Tensor, Tensor]:
    """Output and both gradients."""
    return (
        kernel.conv3x3(case.x, case.weight, case.bias, case.addend, EAGER),
        kernel.grad_input(case.g, case.weight, EAGER),
        kernel.grad_weight(case.g, case.x, EAGER),
    )


def in_float64(case: Case) -> Case:
    return Case(*(None if it is None else it.double() for it in (case.x, case.weight, case.bias, case.addend, case.g)))  # type: ignore[arg-type]


@given(integer_cases(FEW))
def test_the_reference_is_exact_on_integers(case: Case) -> None:
    exact = in_float64(case)
    assert torch.equal(reference.conv3x3(exact.x, exact.weight), torch.conv2d(exact.x, exact.weight, padding=1))


@each_kernel
@given(
    integer_cases(SIXTEENS),
    st.integers(1, 60),
    st.integers(1, 150),
    st.sampled_from([1, 2, 3]),
    st.sampled_from([0, 2**62]),
)
def test_on_integers_no_bit_depends_on_blocks_threads_layouts_or_vectors(
    kernel: native.Kernel, case: Case, block: int, shared_block: int, count: int, max_own_sums: int
) -> None:
    policy = Policy(block=block, shared_block=shared_block, max_own_sums=max_own_sums)
    of_x, of_weight = case.direct_gradients()
    with threads(count):
        assert torch.equal(kernel.conv3x3(case.x, case.weight, case.bias, case.addend, policy), case.direct())
        assert torch.equal(kernel.grad_input(case.g, case.weight, policy), of_x)
        assert torch.equal(kernel.grad_weight(case.g, case.x, policy), of_weight)


@needs_c
def test_the_library_in_use_is_the_best_one_that_the_processor_runs() -> None:
    assert backend() == f"c-{KERNELS[0].name}"


@each_kernel
@given(SEEDS, SIXTEENS, SIDES, SIDES)
def test_the_error_stays_below_the_bound_of_its_sums(kernel: native.Kernel, seed: int, channels: int, h: int, w: int) -> None:
    """|error| <= gamma_n times the sum of absolute values, gamma_n = n u / (1 - n u), u = 2^-24 (Higham, section 3.1).

    n counts the roundings that a number meets in a row: 6 terms for each of four transforms (a product and a sum each), three
    for each of the two of the weight and a division, and the sum over the channels.
    """
    case = random_case(2, channels, 16, h, w, seed=seed)
    n = 4 * 6 + 2 * 3 + 1 + channels
    gamma = n * 2.0**-24 / (1 - n * 2.0**-24)
    x, weight = case.x.double(), case.weight.double()
    error = (kernel.conv3x3(case.x, case.weight, None, None, EAGER).double() - torch.conv2d(x, weight, padding=1)).abs()
    assert torch.all(error <= gamma * reference.magnitude(x, weight))


@each_kernel
@pytest.mark.parametrize("channels", [64, 256])
def test_errors_are_a_few_times_those_of_the_direct_convolution(kernel: native.Kernel, channels: int) -> None:
    case = random_case(4, channels, channels, 16, 16)
    exact = in_float64(case)
    for seen, wanted in zip(on_cpu_defaults(kernel, case), (exact.direct(), *exact.direct_gradients())):
        assert relative_error(seen.double(), wanted) <= ROUNDING


@each_kernel
@given(SEEDS, SIXTEENS, SIDES, SIDES)
def test_bfloat16_is_float32_arithmetic_rounded_once(kernel: native.Kernel, seed: int, channels: int, h: int, w: int) -> None:
    """Ties to even, as PyTorch rounds."""
    case = random_case(2, channels, channels, h, w, dtype=torch.bfloat16, seed=seed)
    widened = Case(*(it.float() for it in (case.x, case.weight, case.bias, case.addend, case.g)))  # type: ignore[union-attr]
    for seen, wanted in zip(on_cpu_defaults(kernel, case), on_cpu_defaults(kernel, widened)):
        assert torch.equal(seen, wanted.bfloat16())


@each_kernel
def test_in_bfloat16_a_nan_stays_one(kernel: native.Kernel) -> None:
    x, weight = torch.zeros(1, 16, 4, 4, dtype=torch.bfloat16), torch.zeros(16, 16, 3, 3, dtype=torch.bfloat16)
    x[0, 0, 0, 0] = torch.nan
    weight[:, :, 1, 1] = 1
    assert kernel.conv3x3(x, weight, None, None, EAGER)[0, 0, 0, 0].isnan()


@each_kernel
@pytest.mark.parametrize(("c_in", "c_out"), [(16, 80), (64, 64), (160, 32), (192, 208)])
def test_the_same_threads_give_the_same_bits_and_outputs_do_not_depend_on_their_number(
    kernel: native.Kernel, c_in: int, c_out: int
) -> None:
    case = random_case(6, c_in, c_out, 18, 21)
    outputs, gradients = [], []
    of_weight: dict[int, list[Tensor]] = {1: [], 2: [], 5: []}
    for count in (1, 2, 5, 1, 2, 5, 2):
        with threads(count):
            outputs.append(kernel.conv3x3(case.x, case.weight, case.bias, case.addend, EAGER))
            gradients.append(kernel.grad_input(case.g, case.weight, EAGER))
            of_weight[count].append(kernel.grad_weight(case.g, case.x, EAGER))
    assert all(torch.equal(y, outputs[0]) for y in outputs)
    assert all(torch.equal(y, gradients[0]) for y in gradients)
    for same in of_weight.values():
        assert all(torch.equal(gradient, same[0]) for gradient in same)
    if 36 * c_in * c_out > EAGER.max_own_sums:  # one sum for all threads
        assert torch.equal(of_weight[1][0], of_weight[5][0])


@given(SEEDS, FEW, FEW, SIDES, SIDES)
def test_gradients_of_the_reference_are_those_of_the_direct_convolution(seed: int, c_in: int, c_out: int, h: int, w: int) -> None:
    case = random_case(2, c_in, c_out, h, w, dtype=torch.float64, seed=seed)
    x, weight = case.x.requires_grad_(), case.weight.requires_grad_()
    seen = torch.autograd.grad(reference.conv3x3(x, weight), [x, weight], case.g)
    for mine, wanted in zip(seen, direct_gradients(case.g, x.detach(), weight.detach())):
        torch.testing.assert_close(mine, wanted, rtol=1e-10, atol=1e-10)
