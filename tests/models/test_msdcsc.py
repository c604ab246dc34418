"""MSD-CSC and ML-CSC: dense dilated layers as codes, exact counts, and statistics that belong to their unfolding."""

from typing import Any, Literal

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mgnet_models import MlCsc, MsdCsc
from models.conversions import assert_converts
from models.strategies import grids_of


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


# The authors' code holds 1,027,414 weights once its BatchNorms are registered; 8,584 of them are thresholds that stand
# before a BatchNorm and are cancelled by it. Here one threshold follows the normalization, whose shift it is.
CONVOLUTIONS, HEAD, STEM_NORM, STEPS, CODES, NEW_CODES = 997_136, 4_490, 32, 36, 8_568, 432


@pytest.mark.parametrize("unfold", [0, 1, 2])
@pytest.mark.parametrize("norm, gains", [("all", CODES), ("new", NEW_CODES), ("none", 0)], ids=["all", "new", "none"])
def test_msdcsc_has_exactly_its_parameters_however_often_it_is_unfolded(unfold: int, norm: str, gains: int) -> None:
    model = timm.create_model("msdcsc40_k12.cifar10", norm=norm, unfold=unfold, device="meta")
    assert count(model) == CONVOLUTIONS + HEAD + STEM_NORM + STEPS + CODES + gains
    if norm == "all":
        assert count(model) == 1_027_414 - 8_584


def test_each_unfolding_adds_two_products_with_each_dictionary() -> None:
    macs = []
    for unfold in (0, 1, 2):
        model = timm.create_model("msdcsc40_k12.cifar10", unfold=unfold, device="meta").eval()
        with FlopCounterMode(display=False) as counter:
            model(torch.empty(1, 3, 32, 32, device="meta"))
        macs.append(counter.get_total_flops() // 2)
    # 12 filters of 3x3 on every layer's channels, which sum to 984, 2712 and 4440 in the three blocks.
    dictionaries = 9 * 12 * (984 * 32**2 + 2712 * 16**2 + 4440 * 8**2)
    assert macs == [264_812_928 + 2 * unfold * dictionaries for unfold in (0, 1, 2)]


def test_without_normalization_a_layer_is_a_dense_dilated_layer_bit_for_bit() -> None:
    model = MsdCsc(blocks=1, layers=4, growth=3, stem_channels=2, dilations=2, unfold=0, norm="none").eval()
    x = model.stem(torch.randn(2, 3, 9, 8))
    expected = x
    for i, layer in enumerate(grids_of(model)[0].layers):
        nn.init.uniform_(layer.b[expected.shape[1] :], -0.01, 0.01)
        dilation = i % 2 + 1
        new = F.conv2d(expected, layer.D.weight, padding=dilation, dilation=dilation)
        bias = layer.b[expected.shape[1] :].view(1, -1, 1, 1)
        expected = torch.cat((expected, F.relu(new + bias)), dim=1)
    assert torch.equal(model.grids[0](x), expected)


def test_normalizing_the_new_coordinates_keeps_the_old_ones_and_normalising_all_does_not() -> None:
    x = torch.rand(2, 2, 6, 6)
    cases: tuple[tuple[Literal["new", "all"], bool], ...] = (("new", True), ("all", False))
    for norm, kept in cases:
        model = MsdCsc(blocks=1, layers=3, growth=3, stem_channels=2, unfold=0, norm=norm)
        assert torch.equal(model.grids[0](x)[:, :2], x) is kept


@pytest.mark.parametrize("pursuit", ["layered", "global"])
def test_each_unfolding_is_evaluated_with_its_own_statistics(pursuit: Literal["layered", "global"]) -> None:
    torch.manual_seed(0)
    model = MsdCsc(
        blocks=2, layers=2, growth=3, stem_channels=2, unfold=2, pursuit=pursuit, norm="all", num_classes=3, dtype=torch.float64
    )
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    for layer in [layer for grid in grids_of(model) for layer in grid.layers]:
        nn.init.normal_(layer.D.weight, std=0.3)
    x = torch.randn(64, 3, 16, 16, dtype=torch.float64)
    trained = model.train()(x)
    torch.testing.assert_close(model.eval()(x), trained, rtol=2e-3, atol=2e-3)


SMALL: dict[str, Any] = {"blocks": 2, "layers": 2, "growth": 2, "stem_channels": 4, "num_classes": 3}
CODING: dict[str, Any] = {"coding": (4, 5), "plain": ((6,), (7, 8)), "num_classes": 3}
CASES = [
    pytest.param("msdcsc40_k12", SMALL | {"unfold": 2, "fista": True}, id="MSD-CSC layered FISTA"),
    pytest.param("msdcsc40_k12", SMALL | {"unfold": 2, "pursuit": "global", "norm": "all"}, id="MSD-CSC global"),
    pytest.param("msdcsc40_k12", SMALL | {"unfold": 0, "norm": "none"}, id="MSD-CSC feed-forward"),
    pytest.param("mlcsc", CODING | {"unfold": 2, "pursuit": "global", "fista": True}, id="ML-CSC global FISTA"),
    pytest.param("mlcsc", CODING, id="ML-CSC"),
]


@pytest.mark.parametrize("name, arguments", CASES[:2] + CASES[3:4])
def test_a_reduced_network_scripts_traces_and_compiles_to_the_same_outputs(name: str, arguments: dict[str, Any]) -> None:
    model = timm.create_model(name, **arguments).eval()
    x = torch.randn(2, 3, 18, 17)
    assert_converts(model, x)


@pytest.mark.parametrize("name, arguments", CASES)
def test_every_parameter_learns_and_checkpointing_changes_nothing(name: str, arguments: dict[str, Any]) -> None:
    results = []
    for enable in (False, True):
        torch.manual_seed(5)
        model = timm.create_model(name, **arguments, dtype=torch.float64)
        model.set_grad_checkpointing(enable)
        model(torch.randn(3, 3, 16, 16, dtype=torch.float64)).square().sum().backward()
        results.append(({key: p.grad for key, p in model.named_parameters()}, dict(model.named_buffers())))
    assert [key for key, gradient in results[0][0].items() if gradient is None] == []
    assert len(results[0][0]) == len(dict(model.named_parameters(remove_duplicate=False)))
    torch.testing.assert_close(results[0], results[1])


def test_mlcsc_has_exactly_the_parameters_of_the_authors_layout() -> None:
    assert count(timm.create_model("mlcsc.cifar10", device="meta")) == 4_005_869


def test_mlcsc_without_unfolding_is_a_plain_network() -> None:
    model = MlCsc(**CODING, unfold=0).eval()
    x = torch.randn(2, 3, 16, 16)
    z = x
    for layer in grids_of(model)[0][0].layers:
        z = F.relu(F.conv2d(z, layer.D.weight, stride=2, padding=1))
    torch.testing.assert_close(grids_of(model)[0][0](x), z)


def test_small_networks_for_digits_are_made_by_arguments() -> None:
    x = torch.randn(2, 1, 8, 8)
    small = (
        ("msdcsc40_k12", {"blocks": 2, "layers": 3, "growth": 4, "stem_channels": 8}),
        ("mlcsc", {"coding": (8, 16), "plain": ((32,),)}),
    )
    for name, arguments in small:
        assert timm.create_model(name, **arguments, in_chans=1, num_classes=10)(x).shape == (2, 10)


@pytest.mark.parametrize(
    "network, arguments, message",
    [
        (MsdCsc, {"growth": 0}, "growth=0: use a whole number from 1"),
        (MsdCsc, {"norm": "old"}, "norm='old' is unknown: use 'new', 'all' or 'none'"),
        (MsdCsc, {"unfold": -1}, "unfold=-1 is no number of steps"),
        (MlCsc, {"coding": ()}, "coding=\\(\\): give a list"),
        (MlCsc, {"pursuit": "greedy"}, "pursuit='greedy' is unknown"),
    ],
    ids=["growth", "norm", "unfold", "no coding layer", "pursuit"],
)
def test_arguments_that_make_no_network_are_refused(network: type[nn.Module], arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        network(**arguments)
