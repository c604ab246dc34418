"""What a network is when nothing is said: the arguments of the classes, and of the registered names."""

import copy
import inspect
from typing import Any

import pytest
import timm
import torch
from timm.layers import BatchNormAct2d
from timm.models import group_parameters
from torch import Tensor, nn

from mgnet_models import (
    GDFI,
    Dictionary,
    Grid,
    MgNet,
    MgResNet,
    MlCsc,
    MsdCsc,
    Notation,
    PlainNetwork,
    PreActNetwork,
    ResCsc,
    Transfer,
    TwoGroupAlexNet,
)
from mgnet_models.families.baselines import ResponseNorm
from mgnet_models.families.gdfi import NonlinearGrid
from mgnet_models.families.plain import Plain
from mgnet_models.families.rescsc import ResCscBlock
from mgnet_models.families.sparse_coding import CodingLayer, Pursuit
from mgnet_models.mgnet.grid import chain_of_grids
from mgnet_models.nn.classifier import Network
from mgnet_models.nn.layers import ConvLayer, MapForm, conv, make_norm, sigma_after, sigma_before
from models.strategies import disturb_norms, grids_of

# A class with the fewest arguments, the classes it tells apart by default, and its pooling.
SMALLEST: dict[str, tuple[type[Network], dict[str, Any], int, str]] = {
    "MgNet": (MgNet, {"notation": "MgNet[1,2]-[4]-B^l"}, 1000, "avg"),
    "MgResNet": (MgResNet, {"blocks": (1, 1), "channels": (3, 4)}, 1000, "avg"),
    "GDFI": (GDFI, {"form_A": "both", "form_B": "pre", "notation": "MgNet[1,2]-[4]-B^l"}, 1000, "avg"),
    "PlainNetwork": (PlainNetwork, {"widths": ((3,), (4,)), "kernels": (3, 3), "stem_stride": 1, "batch_norm": True}, 10, "max"),
    "PreActNetwork": (PreActNetwork, {"blocks": (1,), "channels": (4,), "bottleneck": False, "stem_channels": 4}, 1000, "avg"),
    "Plain": (Plain, {"convolutions": (1, 1), "channels": (3, 4)}, 10, "avg"),
    "ResCsc": (ResCsc, {"blocks": (1, 1), "channels": (3, 4)}, 10, "avg"),
    "MsdCsc": (MsdCsc, {"blocks": 1, "layers": 2, "growth": 2, "stem_channels": 2}, 10, "avg"),
    "MlCsc": (MlCsc, {"coding": (3, 4), "plain": ((5,),)}, 10, "max"),
}


@pytest.mark.parametrize("name", SMALLEST)
def test_a_class_alone_takes_colored_images_and_has_the_documented_classes_and_pooling(name: str) -> None:
    network, arguments, classes, pooling = SMALLEST[name]
    model = network(**arguments).train()
    x = torch.randn(2, 3, 16, 16)
    logits = model(x)
    assert logits.shape == (2, classes)
    assert (model.in_chans, model.num_classes) == (3, classes)
    assert torch.equal(model(x), logits)  # nothing is dropped
    assert not torch.equal(logits[0], logits[1])
    assert model.head.global_pool.pool_type == pooling
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    kinds = {type(module) for module in model.modules()}
    assert nn.ReLU in kinds
    assert name == "MlCsc" or kinds & {nn.BatchNorm2d, BatchNormAct2d}
    assert model.grad_checkpointing is False
    # Kaiming's normal is wider than the interval in which PyTorch's own rule draws.
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() >= 81:
            assert (module.weight.abs() > module.weight[0].numel() ** -0.5).any()


@pytest.mark.parametrize("name", SMALLEST)
def test_dropout_and_dropped_paths_are_those_that_are_asked_for(name: str) -> None:
    network, arguments, _, _ = SMALLEST[name]
    assert network(**arguments, drop_rate=0.25).head.drop.p == 0.25
    if "drop_path_rate" in inspect.signature(network).parameters:
        model = network(**arguments, drop_path_rate=0.25)
        rates = [module.drop_prob for module in model.modules() if hasattr(module, "drop_prob")]
        assert max(rates, default=0.25) == 0.25  # a network of one block keeps it
        plain = network(**arguments)
        assert not any(hasattr(module, "drop_prob") for module in plain.modules())


@pytest.mark.parametrize("name", SMALLEST)
def test_images_of_other_channels_and_other_layers_reach_every_part(name: str) -> None:
    network, arguments, _, _ = SMALLEST[name]
    model = network(**arguments, in_chans=2, act_layer="gelu", global_pool="avgmax")
    assert model(torch.randn(2, 2, 16, 16)).isfinite().all()
    assert not any(isinstance(module, nn.ReLU) for module in model.modules())
    assert model.head.global_pool.pool_type == "avgmax"


# The class without a size is the network of a name, and the name without a tag is that of the first of its data sets.
@pytest.mark.parametrize(
    "network, arguments, name",
    [
        (MgResNet, {}, "mgresnet18_ali_bli"),
        (ResCsc, {}, "rescsc20"),
        (Plain, {}, "plain20"),
        (MsdCsc, {}, "msdcsc40_k12"),
        (MlCsc, {}, "mlcsc"),
        (TwoGroupAlexNet, {}, "imagenet_alexnet"),
        (GDFI, {"form_A": "lin", "form_B": "post"}, "gdfi_lin_post"),
    ],
)
def test_a_class_without_a_size_is_the_network_of_its_name(network: Any, arguments: dict[str, Any], name: str) -> None:
    named = timm.create_model(name, device="meta", num_classes=10)
    alone = network(**arguments, device="meta", num_classes=10)
    assert str(alone) == str(named)
    assert {key: tensor.shape for key, tensor in alone.state_dict().items()} == {
        key: tensor.shape for key, tensor in named.state_dict().items()
    }


def test_the_alexnet_of_2012_drops_half_of_both_hidden_layers_and_reads_a_thousand_classes() -> None:
    model = TwoGroupAlexNet(device="meta")
    assert (model.num_classes, model.in_chans, model.head_hidden_size) == (1000, 3, 4096)
    assert [module.p for module in model.modules() if isinstance(module, nn.Dropout)] == [0.5, 0.5]
    assert model.head.drop.p == 0.5
    assert model.head.global_pool.pool_type == "avg"


STEMS: dict[str, tuple[type[Network], dict[str, Any]]] = {
    name: SMALLEST[name][:2] for name in SMALLEST if "stem" in inspect.signature(SMALLEST[name][0]).parameters
}


@pytest.mark.parametrize("name", STEMS)
@pytest.mark.parametrize("stem, finest", [("cifar", 1), ("imagenet", 4)])
def test_the_stated_reductions_are_those_of_the_features_behind_either_stem(name: str, stem: str, finest: int) -> None:
    network, arguments = STEMS[name]
    model = network(**arguments, stem=stem, device="meta")
    assert model.feature_info[0]["reduction"] == finest
    features = model.forward_intermediates(torch.empty(2, 3, 64, 64, device="meta"), intermediates_only=True)
    for feature, info in zip(features, model.feature_info, strict=True):
        assert feature.shape[1:] == (info["num_chs"], 64 // info["reduction"], 64 // info["reduction"])
    assert model.num_features == features[-1].shape[1]


def test_a_plain_network_has_the_kernels_of_its_stages_and_halves_between_them() -> None:
    for widths, kernels, grids in ((((3, 4), (5,)), [7, 7, 5], 2), (((3,), (4, 5)), [7, 5, 5], 1)):
        model = PlainNetwork(widths, (7, 5), 1, False, num_classes=2)
        assert [module.kernel_size[0] for module in model.modules() if isinstance(module, nn.Conv2d)] == kernels
        assert len(model.grids) == grids
        features = timm.create_model("cifar_vgg19_bn", widths=widths, kernels=(7, 5), features_only=True)
        assert features.feature_info.channels() == [stage[-1] for stage in widths[2 - grids :]]
        assert [info["reduction"] for info in model.feature_info] == [2**index for index in range(2 - grids, 2)]


def test_the_fully_connected_layers_of_2012_see_six_by_six_pixels_and_are_of_the_dtype_of_the_network() -> None:
    model = TwoGroupAlexNet(hidden=6, num_classes=2, dtype=torch.float64)
    assert {p.dtype for p in model.parameters()} == {torch.float64}
    assert {p.device.type for p in TwoGroupAlexNet(hidden=6, device="meta").parameters()} == {"meta"}
    x = torch.randn(1, 3, 224, 224, dtype=torch.float64)
    features = model.forward_features(x)
    pooled = nn.functional.max_pool2d(features, 3, 2)  # overlapping, 13 -> 6 pixels
    assert pooled.shape[2:] == (6, 6)
    hidden = [module for module in model.pre_logits.modules() if isinstance(module, nn.Conv2d)]
    wanted = pooled
    for layer in hidden:
        wanted = nn.functional.conv2d(wanted, layer.weight, layer.bias).relu()
    torch.testing.assert_close(model.eval().forward_head(features, pre_logits=True), wanted.flatten(1))


def test_a_convolution_has_stride_one_and_keeps_the_size() -> None:
    x = torch.randn(1, 2, 6, 5)
    for kernel in (1, 3, 5, 7):
        assert conv(2, 4, kernel=kernel, dd={})(x).shape == (1, 4, 6, 5)
        assert ConvLayer(2, 4, lambda _: nn.Identity(), {}, kernel=kernel)(x).shape == (1, 4, 6, 5)
    assert (ConvLayer(2, 4, lambda _: nn.ReLU(), {})(x) >= 0).all()
    layer = ConvLayer(2, 4, lambda _: nn.Identity(), {})
    assert layer.conv.weight.shape == (4, 2, 3, 3)
    assert layer(x).shape == (1, 4, 6, 5)
    assert layer.conv.groups == 1
    assert layer.conv.bias is not None
    assert ConvLayer(2, 4, lambda _: nn.Identity(), {}, padding=0)(x).shape == (1, 4, 4, 3)
    assert make_norm("batchnorm2d", {})(3).affine is True
    assert make_norm("batchnorm2d", {}, affine=False)(3).affine is False


def test_a_transfer_has_3x3_kernels_each_with_its_sigma() -> None:
    transfer = Transfer((2, 3), (4, 5), nn.BatchNorm2d, {}, kernel=3)
    assert transfer.Pi.weight.shape == (3, 2, 3, 3)
    assert transfer.R.weight.shape == (5, 4, 3, 3)
    assert type(transfer.sigma_Pi) is type(transfer.sigma_R) is nn.BatchNorm2d
    notation = Notation.parse("MgNet[1,1]-[4]-B^l")
    fine, coarse = chain_of_grids(
        Grid, notation, nn.BatchNorm2d, {}, drop_path_rate=0.0, transfer_kernel=3, transfer_sigma="norm_act"
    )
    assert (fine.transfer, fine.last, coarse.last) == (None, False, True)
    assert coarse.transfer.Pi.weight.shape == (4, 4, 3, 3)
    assert type(coarse.transfer.sigma_R) is nn.BatchNorm2d


def test_a_grid_smooths_between_two_sigma() -> None:
    grid = Grid(1, 2, 3, True, nn.BatchNorm2d, {}, transfer=None, last=False, drop_path_rates=[0.0])
    assert type(grid.sigma_r[0]) is type(grid.sigma_u[0]) is nn.BatchNorm2d


@pytest.mark.parametrize(
    "form, before, after", [("lin", False, False), ("pre", True, False), ("post", False, True), ("both", True, True)]
)
def test_the_form_of_a_map_says_on_which_side_of_the_convolution_sigma_stands(form: MapForm, before: bool, after: bool) -> None:
    for sigma, stands in ((sigma_before, before), (sigma_after, after)):
        assert type(sigma(form, 3, nn.BatchNorm2d)) is (nn.BatchNorm2d if stands else nn.Identity)
    grid = NonlinearGrid(1, 2, 3, True, nn.BatchNorm2d, {}, last=True, form_A=form, transfer=None, drop_path_rates=[0.0])
    for sigmas, stands in ((grid.sigma_A_before, before), (grid.sigma_A_after, after)):
        assert [type(sigma) for sigma in sigmas] == [nn.BatchNorm2d if stands else nn.Identity]


@pytest.mark.parametrize("nu, last, frozen", [(1, True, True), (1, False, False), (2, True, False)])
def test_a_grid_freezes_its_system_where_it_is_the_last_and_has_one_iteration(nu: int, last: bool, frozen: bool) -> None:
    grid = Grid(nu, 2, 3, True, nn.BatchNorm2d, {}, transfer=None, last=last, drop_path_rates=[0.0] * nu)
    grid.freeze_unread()
    assert grid.last is last
    assert grid.A.weight.requires_grad is not frozen


def test_a_dictionary_is_plain_3x3_and_of_stride_and_dilation_one() -> None:
    D = Dictionary(2, 3, {}, std=0.1)
    assert D.weight.shape == (3, 2, 3, 3)
    x = torch.randn(1, 2, 5, 6)
    torch.testing.assert_close(D.analysis(x), nn.functional.conv2d(x, D.weight, padding=1))
    layer = CodingLayer(D, 0, nn.ReLU, {})
    assert layer.gain is None
    assert (layer.c.item(), layer.b.abs().sum().item()) == (1.0, 0.0)
    assert type(Pursuit([layer], 0, "layered", False).transition) is nn.Identity


def test_of_a_coding_layer_the_new_coordinates_are_normalized_unless_all_are() -> None:
    D = Dictionary(2, 3, {}, std=0.1, identity=True)
    normalized = [CodingLayer(D, 1, nn.ReLU, {}, norm=nn.BatchNorm2d, **options) for options in ({}, {"normalize_all": True})]
    assert [layer.gain.shape for layer in normalized] == [(3,), (5,)]  # type: ignore[union-attr]


def test_a_block_of_rescsc_drops_no_path_unless_asked() -> None:
    block = ResCscBlock(2, 2, 1, nn.BatchNorm2d, nn.ReLU, {}, corrects=True, step=1.0)
    assert type(block.drop_path) is nn.Identity


def test_the_response_norm_has_no_parameter() -> None:
    assert list(ResponseNorm().parameters()) == []


def _head(model: Network, x: Tensor) -> Tensor:
    return model.forward_head(model.forward_features(x))


@pytest.mark.parametrize("name", SMALLEST)
def test_intermediates_are_all_grids_before_the_last_norm_and_the_final_feature_beside_them(name: str) -> None:
    network, arguments, _, _ = SMALLEST[name]
    model = network(**arguments).eval()
    disturb_norms(model)
    x = torch.randn(1, 3, 16, 16)
    final, found = model.forward_intermediates(x)
    assert torch.equal(final, model.forward_features(x))
    assert len(found) == len(model.grids)
    normed = model.forward_intermediates(x, norm=True)[1]
    assert torch.equal(normed[-1], final)
    assert torch.equal(model.norm(found[-1]), final) or name in ("MgNet", "GDFI")
    only_last = model.forward_intermediates(x, indices=1, intermediates_only=True)
    assert len(only_last) == 1
    assert torch.equal(only_last[0], found[-1])


def test_pruning_leaves_one_grid_and_no_classifier_unless_told_otherwise() -> None:
    arguments = {"blocks": (1, 1, 1), "channels": (3, 4, 5), "preact": True, "num_classes": 2}
    whole = MgResNet(**arguments).eval()
    x = torch.randn(1, 3, 16, 16)
    model = copy.deepcopy(whole)
    assert model.prune_intermediate_layers() == [2]  # the last one
    assert len(model.grids) == 3
    assert model.num_classes == 0
    assert torch.equal(model.forward_features(x), whole.forward_features(x))
    model = copy.deepcopy(whole)
    assert model.prune_intermediate_layers([1], prune_head=False) == [1]
    assert (len(model.grids), model.num_classes) == (2, 2)
    assert type(model.norm) is nn.Identity  # it fits the last grid alone
    model = copy.deepcopy(whole)
    model.prune_intermediate_layers([2], prune_norm=True)
    assert type(model.norm) is nn.Identity
    mgnet = MgNet("MgNet[1,2]-[4]-B^l", num_classes=2)
    assert mgnet.prune_intermediate_layers() == [1]
    assert mgnet.num_classes == 0
    kept = MgNet("MgNet[1,2]-[4]-B^l", num_classes=2)
    kept.prune_intermediate_layers([0], prune_head=False)
    assert (len(kept.grids), kept.num_classes) == (1, 2)
    alexnet = TwoGroupAlexNet(hidden=6, num_classes=2)
    assert alexnet.prune_intermediate_layers() == [1]
    assert type(alexnet.pre_logits) is nn.Identity


def test_a_classifier_comes_back_on_the_device_and_in_the_dtype_of_the_network() -> None:
    for options in ({"dtype": torch.float64}, {"device": "meta"}):
        model = MgResNet((1, 1), (3, 4), num_classes=2, **options)
        model.reset_classifier(0)
        assert model.num_classes == 0
        model.reset_classifier(5)
        fresh = MgResNet((1, 1), (3, 4), num_classes=5, **options).head.fc.weight
        weight = model.get_classifier().weight
        assert (weight.shape, weight.dtype, weight.device) == (fresh.shape, fresh.dtype, fresh.device)
    model.reset_classifier(5, "max")
    assert model.head.global_pool.pool_type == "max"


def test_layers_are_grouped_by_stem_grids_and_head_and_the_last_norm_goes_with_the_last_grid() -> None:
    model = MgResNet((2, 1), (3, 4), preact=True, num_classes=2)
    assert set(model.group_matcher()) == {"stem", "blocks"}
    layers = group_parameters(model, model.group_matcher(), reverse=True)
    assert {name.partition(".")[0] for name in layers} == {"stem", "grids", "norm", "head"}
    for name, layer in layers.items():
        wanted = {"stem": 0, "grids": 1 + int(name.startswith("grids.1")), "norm": 2, "head": 3}[name.partition(".")[0]]
        assert layer == wanted, name


def test_stopping_early_gives_the_feature_of_the_last_grid_that_is_asked_for() -> None:
    model = MgResNet((1, 1, 1), (3, 4, 5), num_classes=2).eval()
    x = torch.randn(1, 3, 16, 16)
    final, found = model.forward_intermediates(x)
    stopped, first = model.forward_intermediates(x, indices=[1, 0], stop_early=True)
    assert torch.equal(stopped, found[1])
    assert len(first) == 2
    whole, _ = model.forward_intermediates(x, indices=[0])
    assert torch.equal(whole, final)
    with pytest.raises(ValueError, match="output_fmt='NLC' is not possible here: features are images, use 'NCHW'"):
        model.forward_intermediates(x, output_fmt="NLC")


def test_indices_count_from_either_end_and_each_is_named_that_does_not_exist() -> None:
    model = MgResNet((1, 1, 1), (3, 4, 5), num_classes=2).eval()
    x = torch.randn(1, 3, 16, 16)
    _, found = model.forward_intermediates(x)
    for indices, wanted in (([-1], [2]), ([-3, 2], [0, 2]), ((2, 0), [0, 2]), (2, [1, 2]), (3, [0, 1, 2]), ([1, 1], [1])):
        chosen = model.forward_intermediates(x, indices=indices, intermediates_only=True)
        assert len(chosen) == len(wanted)
        assert all(torch.equal(feature, found[index]) for feature, index in zip(chosen, wanted))
    for index in (3, -4):
        with pytest.raises(ValueError, match=f"feature index {index} does not exist: there are 3 grids"):
            model.forward_intermediates(x, indices=[index])
    with pytest.raises(ValueError, match="the last 4 features do not exist: there are 3 grids"):
        model.forward_intermediates(x, indices=4)
    nothing: tuple[int | list[int], ...] = (0, [], -1)
    for indices in nothing:
        with pytest.raises(ValueError, match="chooses no feature: give at least one of 3"):
            model.prune_intermediate_layers(indices)


def test_a_frozen_system_is_the_one_that_nothing_reads() -> None:
    for notation, frozen in (
        ("MgNet[1]-[4]-B^l", {"grids.0.A.weight"}),
        ("MgNet[2]-[4]-B^l", set()),
        ("MgNet[1,2]-[4]-B^l", set()),
    ):
        model = MgNet(notation)
        assert {key for key, p in model.named_parameters() if not p.requires_grad} == frozen
        assert [grid.last for grid in grids_of(model)] == [False] * (len(model.grids) - 1) + [True]


def test_weights_are_started_by_the_rule_that_is_asked_for() -> None:
    model = MgNet("MgNet[2]-[32]-B^l", num_classes=10)
    torch.manual_seed(3)
    model.init_weights("torch")
    limit = (1 / (9 * 32)) ** 0.5  # uniform, by fan-in
    A = grids_of(model)[0].A.weight
    assert limit * 0.98 < A.abs().max() <= limit
    torch.manual_seed(3)
    model.init_weights()
    assert A.std().item() == pytest.approx((2 / (9 * 32)) ** 0.5, rel=0.05)
    with pytest.raises(ValueError, match="init_weights\\('normal'\\) is unknown: use 'kaiming' or 'torch'"):
        model.init_weights("normal")  # type: ignore[arg-type]


def test_the_sparse_coding_networks_unfold_as_their_docstrings_say() -> None:
    """Plain ISTA, once for MSD-CSC and ML-CSC, not at all for Res-CSC; dilations 1 to 6 in turn."""
    msd, ml, res = MsdCsc(blocks=1), MlCsc(), ResCsc(blocks=(1, 1, 1))
    pursuits: list[Any] = [msd.grids[0], next(iter(ml.grids[0].children()))]
    for pursuit in pursuits:
        assert (pursuit.unfold, pursuit.is_global, pursuit.momentum) == (1, False, [0.0, 0.0])
    assert [layer.D.dilation for layer in pursuits[0].layers] == [1, 2, 3, 4, 5, 6] * 2
    assert msd.dilations == 6
    first: Any = next(iter(res.grids[0].children()))
    assert (first.momentum, first.c_f, first.corrects) == ([0.0], None, True)


@pytest.mark.parametrize("unfold", [-1, 1.5, True, "1", 10**9])
@pytest.mark.parametrize("network", [MsdCsc, MlCsc, ResCsc])
def test_a_number_of_unfoldings_that_means_nothing_is_refused_by_every_class(network: type[Network], unfold: Any) -> None:
    with pytest.raises(ValueError, match="unfold="):
        network(unfold=unfold)
