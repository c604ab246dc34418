"""Res-CSC: the block is an ISTA step that starts at the skip, and variant B is the basic block of ResNet."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from timm.models.resnet import BasicBlock
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mgnet_models import ResCsc
from mgnet_models.families.rescsc import RESCSC_NAMES, ResCscBlock, Threshold
from mgnet_models.families.sparse_coding import fista_momentum, transposed
from models.conversions import assert_converts

COUNTS = {20: 269_731, 32: 464_169, 44: 658_607, 56: 853_045, 110: 1_728_016, 218: 3_477_958}
DOUBLE: dict[str, Any] = {"dtype": torch.float64}


@pytest.mark.parametrize("depth", COUNTS)
def test_every_depth_has_exactly_its_parameters_in_both_variants(depth: int) -> None:
    for variant in ("A", "B"):
        model = timm.create_model(f"rescsc{depth}.cifar10", variant=variant, device="meta")
        assert sum(parameter.numel() for parameter in model.parameters()) == COUNTS[depth]


def test_the_names_are_the_six_depths() -> None:
    assert set(RESCSC_NAMES) == {f"rescsc{depth}" for depth in COUNTS}


def test_variant_b_costs_what_the_cifar_resnet_costs_and_a_one_more_product_a_block() -> None:
    macs = {}
    for variant in ("A", "B"):
        model = timm.create_model("rescsc20.cifar10", variant=variant, device="meta").eval()
        with FlopCounterMode(display=False) as counter:
            model(torch.empty(1, 3, 32, 32, device="meta"))
        macs[variant] = counter.get_total_flops() // 2
    assert macs["B"] == 40_551_040  # the ResNet20 of the CIFAR plan, with padded skips
    assert macs["A"] - macs["B"] == 9 * (9 * 16 * 16 * 32 * 32)  # nine blocks; the product costs the same in each stage


def unnormalized(c_in: int, channels: int, stride: int, **options: Any) -> ResCscBlock:
    """A block in float64 with thresholds."""
    return ResCscBlock(c_in, channels, stride, lambda c: Threshold(c, DOUBLE), nn.ReLU, DOUBLE, **({"corrects": True} | options))


@st.composite
def blocks(draw: st.DrawFn, corrects: bool = True, same_shape: bool = False) -> tuple[ResCscBlock, Tensor]:
    torch.manual_seed(draw(st.integers(0, 2**31)))
    c_in = draw(st.integers(1, 3))
    channels = c_in if same_shape else c_in + draw(st.integers(0, 3))
    stride = 1 if same_shape else draw(st.integers(1, 2))
    block = unnormalized(c_in, channels, stride, corrects=corrects, step=draw(st.floats(0.05, 1.5)))
    norms: list[Any] = [block.norm_f, block.norm_u]
    for norm in norms:
        nn.init.uniform_(norm.b, -0.3, 0.3)
    return block, torch.randn(2, c_in, draw(st.integers(1, 7)), draw(st.integers(1, 7)), dtype=torch.float64)


@given(blocks())
def test_the_block_is_one_ista_step_from_the_skip_also_in_the_form_with_four_convolutions(case: tuple[ResCscBlock, Tensor]) -> None:
    block, x = case
    b_f, b = (block.get_parameter(name).view(1, -1, 1, 1) for name in ("norm_f.b", "norm_u.b"))
    W, c = block.D2.weight, block.c
    f = F.relu(F.conv2d(x, block.D1.weight, stride=block.stride, padding=1) + b_f)
    start = torch.zeros_like(f)
    start[:, : x.shape[1]] = x[:, :, :: block.stride, :: block.stride]

    def gradient(u: Tensor) -> Tensor:
        """That of |D2 u - f|^2 / 2, by autograd."""
        u = u.detach().requires_grad_()
        residual = F.conv_transpose2d(u, W, padding=1) - f.detach()
        return torch.autograd.grad((residual**2).sum() / 2, u)[0]

    torch.testing.assert_close(block(x), F.relu(start - c * gradient(start) + c * b), rtol=1e-9, atol=1e-9)
    rebuilt = F.conv2d(F.conv_transpose2d(start, W, padding=1), W, padding=1)
    figure = F.relu(start + c * F.conv2d(f, W, padding=1) - c * rebuilt + c * b)
    torch.testing.assert_close(block(x), figure, rtol=1e-9, atol=1e-9)


def objective(weight: Tensor, signal: Tensor, penalty: Tensor, stride: int) -> Callable[[Tensor], Tensor]:
    """|D z - signal|^2 / 2 + penalty . z of a code z >= 0."""

    def value(z: Tensor) -> Tensor:
        return ((transposed(z, weight, signal, stride=stride) - signal) ** 2).sum() / 2 + (penalty * z).sum()

    return value


@given(blocks(), st.integers(1, 4), st.booleans())
def test_unfolding_takes_the_same_step_for_both_layers_again_and_again(
    case: tuple[ResCscBlock, Tensor], unfold: int, fista: bool
) -> None:
    """Written out: proximal gradient steps, the gradients by autograd, for D1 f = x from zero and for D2 u = f from the skip."""
    block, x = case
    norm: Any = block.norm_f
    unfolded = unnormalized(x.shape[1], len(norm.b), block.stride, step=0.1, unfold=unfold, fista=fista)
    unfolded.load_state_dict(block.state_dict(), strict=False)
    assert unfolded.c_f is not None
    signal, code, start = x, None, torch.zeros_like(block.D1(x))
    for weight, c, b, stride, steps in (
        (block.D1.weight, unfolded.c_f, norm.b, block.stride, range(unfold + 1)),
        (block.D2.weight, unfolded.c, block.get_parameter("norm_u.b"), 1, range(unfold + 1)),
    ):
        value = objective(weight, signal, -b.view(1, -1, 1, 1), stride)
        z = before = start
        for t in steps:
            y = (z + fista_momentum(unfold)[t] * (z - before) if fista else z).detach().requires_grad_()
            before, z = z, F.relu(y - c * torch.autograd.grad(value(y), y)[0])
        signal, code, start = z.detach(), z, block.skip(x)
    torch.testing.assert_close(unfolded(x), code, rtol=1e-9, atol=1e-9)


@given(blocks(), st.integers(1, 6))
def test_unfoldings_descend_where_the_step_is_small_enough(case: tuple[ResCscBlock, Tensor], unfold: int) -> None:
    """c at most 1 / |D2|^2, the condition of ISTA."""
    block, x = case
    f = block.code(x)
    units = torch.eye(f[0].numel(), dtype=torch.float64).view(-1, *f.shape[1:])
    norm = torch.linalg.matrix_norm(block.D2.synthesis(units, units).flatten(1), 2)
    nn.init.constant_(block.c, 1 / norm.item() ** 2)
    value = objective(block.D2.weight, f, -block.get_parameter("norm_u.b").view(1, -1, 1, 1), 1)
    u, values = F.relu(block.skip(x)), []
    for t in range(unfold + 1):
        values.append(value(u).item())
        u = block.step(t, u, f)
    values.append(value(u).item())
    assert all(after <= before + 1e-9 * abs(values[0]) + 1e-12 for before, after in pairwise(values))


@pytest.mark.parametrize("normalize", [True, False])
def test_an_unfolding_adds_a_step_size_and_its_normalizations_and_no_threshold(normalize: bool) -> None:
    counts = [
        sum(p.numel() for p in ResCsc(blocks=(1, 2), channels=(3, 5), normalize=normalize, unfold=unfold).parameters())
        for unfold in range(3)
    ]
    norms = 2 * 2 * (3 + 5 + 5) if normalize else 0  # weight and bias, for f and for u
    assert [counts[1] - counts[0], counts[2] - counts[1]] == [norms + 3, norms]


@given(blocks(same_shape=True))
def test_both_variants_agree_bit_for_bit_where_the_dictionary_rebuilds_nothing(case: tuple[ResCscBlock, Tensor]) -> None:
    block, x = case
    nn.init.zeros_(block.D2.weight[: x.shape[1] // 2 + 1])
    x[:, x.shape[1] // 2 + 1 :] = 0
    with_term = block(x)
    block.corrects = False
    assert torch.equal(block(x), with_term)


def test_with_an_orthonormal_dictionary_and_unit_step_the_skip_cancels() -> None:
    block = unnormalized(4, 4, 1, step=1.0)
    with torch.no_grad():
        block.D2.weight.zero_()
        block.D2.weight[:, :, 1, 1] = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64))[0]
    x = torch.randn(2, 4, 5, 5, dtype=torch.float64)
    f = F.relu(block.D1(x))
    torch.testing.assert_close(block(x), F.relu(block.D2.analysis(f)), rtol=1e-12, atol=1e-12)


def test_variant_b_with_unit_step_is_the_basic_block_of_resnet() -> None:
    block = ResCscBlock(4, 4, 1, nn.BatchNorm2d, nn.ReLU, {}, corrects=False, step=1.0).eval()
    resnet = BasicBlock(4, 4).eval()
    norms: list[Any] = [block.norm_f, block.norm_u]
    for norm in norms:
        for tensor in (norm.weight, norm.bias, norm.running_mean):
            nn.init.uniform_(tensor, -1.0, 1.0)
    resnet.conv1.load_state_dict(block.D1.state_dict())
    resnet.bn1.load_state_dict(block.norm_f.state_dict())
    resnet.conv2.load_state_dict(block.D2.state_dict())
    resnet.bn2.load_state_dict(block.norm_u.state_dict())
    x = torch.randn(2, 4, 6, 6)
    torch.testing.assert_close(block(x), resnet(x))


SMALL: dict[str, Any] = {"blocks": (1, 2), "channels": (3, 5), "num_classes": 4}


@pytest.mark.parametrize(
    "options",
    [{}, {"variant": "B", "normalize": False}, {"unfold": 2, "fista": True}],
    ids=["variant A", "variant B without norms", "FISTA"],
)
def test_a_reduced_network_scripts_traces_and_compiles_to_the_same_outputs(options: dict[str, Any]) -> None:
    model = timm.create_model("rescsc20", **SMALL, **options).eval()
    x = torch.randn(2, 3, 9, 8)
    assert_converts(model, x)


def test_a_small_network_for_digits_is_made_by_arguments_and_all_its_parameters_learn() -> None:
    model = timm.create_model("rescsc20", blocks=(1, 1), channels=(4, 8), in_chans=1, num_classes=10)
    model(torch.randn(3, 1, 8, 8)).square().sum().backward()
    assert [key for key, parameter in model.named_parameters() if parameter.grad is None] == []
    assert len(dict(model.named_parameters())) == len(dict(model.named_parameters(remove_duplicate=False)))


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"variant": "C"}, "variant='C' is unknown: use 'A', with the term D2 u, or 'B'"),
        ({"blocks": (3, 3)}, "give one positive entry for each stage"),
        ({"variant": "B", "unfold": 1}, "without the term D2 u there is nothing to iterate"),
        ({"channels": (16, 8, 64)}, "shrink: a padded skip can only add channels"),
    ],
    ids=["variant", "nothing to iterate", "two stages", "fewer channels"],
)
def test_arguments_that_make_no_network_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ResCsc(**arguments)
