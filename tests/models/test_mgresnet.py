"""ResNet and pre-act ResNet: the exact counts, the blocks as the equations write them, and what sharing means."""

from typing import Any, get_args

import pytest
import timm
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mgnet_models import Grid, MgResNet
from mgnet_models.families.mgresnet import MGRESNET_NAMES, PoolingB
from models.conversions import assert_converts
from models.strategies import disturb_norms, grids_of

# Exact counts for one CIFAR10 classifier; 10 -> 100 classes adds 46,170, one input channel instead of three takes 1,152.
COUNTS = {
    "mgresnet18_ali_bli": 11_173_962,
    "mgresnet18_al_bli": 8_040_522,
    "mgresnet18_ali_bl": 9_760_842,
    "mgresnet18_al_bl": 6_627_402,
    "mgpreactresnet18_ali_bli": 11_172_170,
    "mgpreactresnet18_al_bli": 8_038_730,
    "mgpreactresnet18_ali_bl": 9_759_050,
    "mgpreactresnet18_al_bl": 6_625_610,
    "mgresnet34_ali_bli": 21_282_122,
    "mgresnet34_al_bli": 13_098_314,
    "mgresnet34_ali_bl": 14_818_634,
    "mgresnet34_al_bl": 6_634_826,
    "mgpreactresnet34_ali_bli": 21_280_330,
    "mgpreactresnet34_al_bli": 13_096_522,
    "mgpreactresnet34_ali_bl": 14_816_842,
    "mgpreactresnet34_al_bl": 6_633_034,
}


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("name", COUNTS)
def test_every_network_of_tables_2_and_3_has_exactly_its_parameters(name: str) -> None:
    for tag, more in (("cifar10", 0), ("cifar100", 46_170)):
        assert count(timm.create_model(f"{name}.{tag}", device="meta")) == COUNTS[name] + more
    assert count(timm.create_model(f"{name}.mnist", in_chans=1, device="meta")) == COUNTS[name] - 1_152


def test_the_names_are_two_families_two_depths_four_sharings_and_two_stems() -> None:
    assert set(MGRESNET_NAMES) == set(COUNTS) | {f"{name}_224" for name in COUNTS}


def test_the_original_imagenet_resnet_has_the_parameters_of_timms() -> None:
    for depth in (18, 34):
        ours = timm.create_model(f"mgresnet{depth}_ali_bli_224", device="meta")
        assert count(ours) == count(timm.create_model(f"resnet{depth}", device="meta"))


@pytest.mark.parametrize(
    "pooling_B, count18, count34, macs18, macs34",
    [
        ("lift_s1", 9_760_842, 14_818_634, 637_211_648, 1_241_191_424),
        ("lift", 9_760_842, 14_818_634, 618_337_280, 1_222_317_056),
        ("proj1x1", 9_760_842, 14_818_634, 505_091_072, 1_109_070_848),
        ("text", 11_137_098, 16_194_890, 555_422_720, 1_159_402_496),
    ],
    ids=get_args(PoolingB),
)
def test_each_interpretation_of_the_pooling_smoother_has_its_parameters_and_multiply_adds(
    pooling_B: PoolingB, count18: int, count34: int, macs18: int, macs34: int
) -> None:
    for depth, parameters, macs in ((18, count18, macs18), (34, count34, macs34)):
        name = f"mgresnet{depth}_ali_bl.cifar10"
        model = timm.create_model(name, pooling_B=pooling_B, device="meta").eval()
        assert count(model) == parameters
        with FlopCounterMode(display=False) as counter:
            model(torch.empty(1, 3, 32, 32, device="meta"))
        assert counter.get_total_flops() == 2 * macs


def test_the_interpretation_of_the_text_with_both_shared_has_the_audited_parameters() -> None:
    assert count(timm.create_model("mgresnet18_al_bl.cifar10", pooling_B="text", device="meta")) == 8_003_658
    assert count(timm.create_model("mgresnet34_al_bl.cifar10", pooling_B="text", device="meta")) == 8_011_082


@st.composite
def networks(draw: st.DrawFn) -> tuple[MgResNet, Tensor]:
    grids = draw(st.integers(1, 3))
    blocks, channels = (draw(st.lists(st.integers(1, 3), min_size=grids, max_size=grids)) for _ in range(2))
    share_B = draw(st.booleans())
    torch.manual_seed(draw(st.integers(0, 2**31)))
    model = MgResNet(
        blocks,
        channels,
        share_A=draw(st.booleans()),
        share_B=share_B,
        preact=draw(st.booleans()),
        pooling_B=draw(st.sampled_from(get_args(PoolingB))) if share_B else "lift_s1",
        num_classes=3,
        dtype=torch.float64,
    )
    disturb_norms(model)
    size = draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    return model.eval(), torch.randn(draw(st.integers(1, 3)), 3, *size, dtype=torch.float64)


def algorithm_1(model: MgResNet, x: Tensor) -> Tensor:
    """Algorithm 1 written out block by block, without the code under test."""
    r, preact = model.stem(x), not isinstance(model.norm, nn.Identity)
    for index, grid in enumerate(grids_of(model)):
        for i in range(grid.nu):
            A = grid.A[0 if grid.share_A else i].weight
            start = index > 0 and i == 0
            s = grid.sigma_r[i](r) if preact else r
            if start and grid.share_B:
                s = grid.B_pool(s)
                if grid.stride_B:
                    s = F.conv2d(s, grid.B[0].weight, stride=grid.stride_B, padding=1)
            else:
                s = F.conv2d(s, grid.B[0 if grid.share_B else i].weight, stride=2 if start else 1, padding=1)
            branch = F.conv2d(grid.sigma_u[i](s), A, padding=1)
            shortcut = F.conv2d(r, grid.R.weight, stride=2) if start else r
            if preact:
                r = shortcut + branch
            else:
                r = F.relu((grid.norm_R(shortcut) if start else shortcut) + grid.norm_A[i](branch))
    return r


@given(networks())
def test_the_forward_pass_is_algorithm_1_block_by_block(network: tuple[MgResNet, Tensor]) -> None:
    model, x = network
    torch.testing.assert_close(model.grids(model.stem(x)), algorithm_1(model, x), rtol=1e-10, atol=1e-10)


@given(networks())
def test_no_tensor_has_two_names_and_every_parameter_gets_a_gradient(network: tuple[MgResNet, Tensor]) -> None:
    model, x = network
    assert len(dict(model.named_parameters())) == len(dict(model.named_parameters(remove_duplicate=False)))
    model.train()
    model(torch.cat([x, x + 1, x * 2])).square().sum().backward()
    assert [key for key, parameter in model.named_parameters() if parameter.grad is None] == []


def test_modified_preact_resnet_on_one_grid_is_the_residual_form_of_mgnet_with_the_other_sign() -> None:
    model = MgResNet((3,), (4,), share_A=True, preact=True, num_classes=2, dtype=torch.float64).eval()
    disturb_norms(model)
    residual = grids_of(model)[0]
    grid = Grid(3, 4, 4, False, nn.BatchNorm2d, {"dtype": torch.float64}, transfer=None, last=False, drop_path_rates=[0] * 3)
    grid.B, grid.sigma_r, grid.sigma_u = residual.B, residual.sigma_r, residual.sigma_u
    with torch.no_grad():
        grid.A.weight.copy_(-residual.A[0].weight)
    r = torch.randn(2, 4, 5, 6, dtype=torch.float64)
    assert torch.equal(residual(r), grid((torch.zeros_like(r), r))[1])  # (4.5) and (4.6)


def test_a_lift_before_the_shared_smoother_is_one_strided_convolution() -> None:
    grid = grids_of(MgResNet((1, 1), (3, 5), share_B=True, num_classes=2, dtype=torch.float64))[1]
    kernel = torch.einsum("oikl,ij->ojkl", grid.B[0].weight, grid.B_pool.weight[:, :, 0, 0])
    r = torch.randn(2, 3, 7, 6, dtype=torch.float64)
    torch.testing.assert_close(grid.smooth(0, r), F.conv2d(r, kernel, stride=2, padding=1))


@pytest.mark.parametrize("name", ["mgresnet18_al_bl", "mgpreactresnet18_ali_bli_224"])
def test_a_reduced_network_scripts_traces_and_compiles_to_the_same_outputs(name: str) -> None:
    model = timm.create_model(name, channels=(2, 3, 4, 5), num_classes=3).eval()
    x = torch.randn(2, 3, 33, 34)
    assert_converts(model, x)


@pytest.mark.parametrize("feature_cls", ["list", "dict", "fx", "getter", "hook"])
def test_features_are_those_at_the_end_of_each_grid(feature_cls: str) -> None:
    arguments = {"channels": (2, 3, 4, 5), "num_classes": 3}
    torch.manual_seed(1)
    model = timm.create_model("mgpreactresnet18_al_bl", **arguments).eval()
    features = timm.create_model("mgpreactresnet18_al_bl", **arguments, features_only=True, feature_cls=feature_cls).eval()
    features.load_state_dict({key.replace("grids_", "grids."): value for key, value in model.state_dict().items()}, strict=False)
    x = torch.randn(1, 3, 16, 16)
    final, expected = model.forward_intermediates(x)
    assert torch.equal(final, model.forward_features(x))
    assert features.feature_info.channels() == [2, 3, 4, 5]
    assert features.feature_info.reduction() == [1, 2, 4, 8]
    outputs = features(x)
    shapes = [tuple(o.shape) for o in (outputs.values() if isinstance(outputs, dict) else outputs)]
    assert shapes == [tuple(o.shape) for o in expected]


def test_checkpointing_changes_neither_gradients_nor_running_statistics() -> None:
    results = []
    for enable in (False, True):
        torch.manual_seed(3)
        model = MgResNet((2, 2), (3, 4), share_A=True, share_B=True, num_classes=2, dtype=torch.float64)
        model.set_grad_checkpointing(enable)
        model(torch.randn(4, 3, 8, 8, dtype=torch.float64)).square().sum().backward()
        results.append(([p.grad for p in model.parameters()], dict(model.named_buffers())))
    torch.testing.assert_close(results[0], results[1])


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"blocks": (2, 2)}, "give one positive entry for each grid"),
        ({"blocks": (2, 0, 2, 2)}, "blocks=0: use a whole number from 1"),
        ({"share_B": True, "pooling_B": "lifted"}, "pooling_B='lifted' is unknown: use 'lift_s1'"),
        ({"pooling_B": "lift"}, "pooling_B='lift' is about a pooling block with shared B"),
        ({"stem": "mnist"}, "stem='mnist' is unknown"),
        ({"norm_layer": "batchnorm3d"}, "norm_layer='batchnorm3d' is unknown to timm: use 'batchnorm2d'"),
        ({"act_layer": "rely"}, "act_layer='rely' is unknown to timm: use 'relu'"),
    ],
    ids=["two grids", "no block", "interpretation", "interpretation without shared B", "stem", "norm", "activation"],
)
def test_arguments_that_make_no_network_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MgResNet(**arguments)
