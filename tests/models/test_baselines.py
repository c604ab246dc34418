"""The networks that Table 4 compares with: exact counts, and the behavior that every network here has."""

from typing import Any

import pytest
import timm
import torch
from torch.utils.flop_counter import FlopCounterMode

from mgnet_models import PlainNetwork, PreActNetwork, table_rows
from mgnet_models.families.baselines import ResponseNorm
from mgnet_models.nn.classifier import Network
from models.conversions import assert_converts

NAMES = {
    "cifar_alexnet.cifar10": 2_472_266,
    "cifar_alexnet.cifar100": 2_495_396,
    "cifar_vgg19_bn.cifar10": 20_040_522,
    "cifar_vgg19_bn.cifar100": 20_086_692,
    "cifar_preactresnet1001.cifar10": 10_327_706,
    "cifar_preactresnet1001.cifar100": 10_350_836,
    "cifar_wrn28_2.cifar10": 1_467_610,
    "cifar_wrn40_2.cifar100": 2_255_156,
    "cifar_wrn28_10.cifar10": 36_479_194,
    "cifar_wrn28_10.cifar100": 36_536_884,
    "imagenet_alexnet": 60_965_224,
    "imagenet_preactresnet200": 64_666_280,
    "vgg19": 143_667_240,
    "resnet18": 11_689_512,
    "wide_resnet50_2": 68_883_240,
}
REDUCED: dict[str, dict[str, Any]] = {
    "cifar_alexnet": {"widths": ((4,), (5,), (6, 7, 8))},
    "cifar_vgg19_bn": {"widths": ((2, 3), (4, 4), (5,), (6,), (7,))},
    "cifar_wrn28_2": {"blocks": (1, 2), "channels": (8, 16)},
    "cifar_preactresnet1001": {"blocks": (2, 1, 1), "channels": (16, 32, 32)},
    "imagenet_alexnet": {"hidden": 10},
}
SIZE = {"imagenet_alexnet": (224, 224)}


@pytest.mark.parametrize("name", NAMES)
def test_every_baseline_of_table_4_has_exactly_its_parameters(name: str) -> None:
    model = timm.create_model(name, device="meta")
    assert sum(parameter.numel() for parameter in model.parameters()) == NAMES[name]


def test_every_network_that_a_table_row_names_can_be_created() -> None:
    for name in {row.model for row in table_rows()}:
        assert timm.is_model(name), name


def reduced(name: str) -> Network:
    return timm.create_model(name, **REDUCED[name], num_classes=3).eval()


@pytest.mark.parametrize("name", REDUCED)
def test_a_reduced_baseline_scripts_traces_and_compiles_to_the_same_outputs(name: str) -> None:
    model = reduced(name)
    x = torch.randn(1, 3, *SIZE.get(name, (32, 32)))
    assert_converts(model, x)


@pytest.mark.parametrize("name", REDUCED)
def test_features_have_the_stated_channels_and_reductions(name: str) -> None:
    model = timm.create_model(name, **REDUCED[name], features_only=True).eval()
    height, width = SIZE.get(name, (32, 32))
    features = model(torch.randn(1, 3, height, width))
    assert [f.shape[1] for f in features] == model.feature_info.channels()
    for feature, reduction in zip(features, model.feature_info.reduction()):
        assert abs(feature.shape[-1] - width / reduction) <= 1
        assert abs(feature.shape[-2] - height / reduction) <= 1


@pytest.mark.parametrize("name", REDUCED)
def test_the_classifier_can_be_replaced_and_removed(name: str) -> None:
    model = reduced(name)
    x = torch.randn(1, 3, *SIZE.get(name, (32, 32)))
    model.reset_classifier(5)
    assert model(x).shape == (1, 5)
    model.reset_classifier(0)
    assert model(x).shape == (1, model.head_hidden_size)
    chosen = model.prune_intermediate_layers(1)
    assert model(x).shape[1] == model.feature_info[chosen[0]]["num_chs"]


def test_checkpointing_a_chain_changes_neither_gradients_nor_running_statistics() -> None:
    results = []
    for enable in (False, True):
        torch.manual_seed(3)
        model = reduced("cifar_wrn28_2").train()
        model.set_grad_checkpointing(enable)
        model(torch.randn(4, 3, 8, 8)).square().sum().backward()
        results.append(([p.grad for p in model.parameters()], dict(model.named_buffers())))
    torch.testing.assert_close(results[0], results[1])


def test_the_last_max_pool_of_the_cifar_networks_sees_two_by_two_pixels() -> None:
    for name in ("cifar_alexnet", "cifar_vgg19_bn"):
        assert timm.create_model(name, device="meta").forward_features(torch.empty(1, 3, 32, 32, device="meta")).shape[2:] == (2, 2)


def test_the_groups_of_the_2012_network_halve_the_multiply_adds_of_three_convolutions() -> None:
    model = timm.create_model("imagenet_alexnet", device="meta").eval()
    with FlopCounterMode(display=False) as counter:
        model(torch.empty(1, 3, 224, 224, device="meta"))
    convolutions = 55**2 * 96 * 363 + 27**2 * 256 * 48 * 25 + 13**2 * 9 * (384 * 256 + 384 * 192 + 256 * 192)
    assert counter.get_total_flops() == 2 * (convolutions + 9216 * 4096 + 4096 * 4096 + 4096 * 1000)


def test_the_response_norm_is_that_of_2012_in_every_floating_point_type() -> None:
    x = torch.randn(2, 9, 4, 3, dtype=torch.float64)
    reference = torch.nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)  # torch divides alpha by the five channels
    torch.testing.assert_close(ResponseNorm()(x), reference(x), rtol=1e-12, atol=0)
    torch.testing.assert_close(ResponseNorm()(x.bfloat16()), reference(x).bfloat16(), rtol=2e-2, atol=2e-2)


def test_lists_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="give widths and one kernel size for each stage"):
        PlainNetwork(((4,), (5,)), (3,), 1, False)
    with pytest.raises(ValueError, match="give one positive entry for each stage"):
        PreActNetwork((2, 2), (16,), False, 16)
