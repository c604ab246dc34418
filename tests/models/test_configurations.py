"""What timm is told of each name: data sets and which is the default, paper, sizes, and what the name stands for."""

from typing import Any

import pytest
import timm
import torch
from timm.models import get_arch_pretrained_cfgs

from mgnet_models import MgNet, registered_names
from mgnet_models.families.mgnet import OWN_NAMES
from mgnet_records.datasets import BY_TIMM_TAG

SMALL_IMAGES = ["cifar100", "cifar10", "mnist"]
MGNET, CSC = "arXiv:1911.10428", "arXiv:1912.02605"
WITH_SVHN = [*SMALL_IMAGES, "svhn"]  # the data sets of the sparse-coding paper, and of what it compares with
# Start of a name -> tags, the default first, and the paper; the longest start that fits counts.
EXPECTED: dict[str, tuple[list[str], str]] = {
    "mgnet": (SMALL_IMAGES, MGNET),
    "mgresnet": (SMALL_IMAGES, MGNET),
    "mgpreactresnet": (SMALL_IMAGES, MGNET),
    "gdfi": (["cifar10", "cifar100", "mnist"], MGNET),
    "rescsc": (WITH_SVHN, CSC),
    "msdcsc": (WITH_SVHN, CSC),
    "msdnet": (WITH_SVHN, "doi:10.1073/pnas.1715832114"),
    "mlcsc": (WITH_SVHN, "arXiv:1806.00701"),
    "plain": (WITH_SVHN, "arXiv:1512.03385"),
    "cifar_alexnet": (SMALL_IMAGES, ""),
    "cifar_vgg": (SMALL_IMAGES, "arXiv:1409.1556"),
    "cifar_wrn": (SMALL_IMAGES, "arXiv:1605.07146"),
    "cifar_preactresnet": (SMALL_IMAGES, "arXiv:1603.05027"),
    "imagenet_alexnet": (["in1k"], ""),
    "imagenet_preactresnet": (["in1k"], "arXiv:1603.05027"),
}
PAPERS = {
    MGNET: "An Interpretive Constrained Linear Model for ResNet and MgNet",
    "doi:10.1073/pnas.1715832114": "A mixed-scale dense convolutional neural network for image analysis",
    CSC: "Towards Understanding Residual and Dilated Dense Neural Networks via Convolutional Sparse Coding",
    "arXiv:1806.00701": "On Multi-Layer Basis Pursuit, Efficient Algorithms and Convolutional Neural Networks",
    "arXiv:1512.03385": "Deep Residual Learning for Image Recognition",
    "": "ImageNet Classification with Deep Convolutional Neural Networks",
    "arXiv:1409.1556": "Very Deep Convolutional Networks for Large-Scale Image Recognition",
    "arXiv:1605.07146": "Wide Residual Networks",
    "arXiv:1603.05027": "Identity Mappings in Deep Residual Networks",
}


def expected(name: str) -> tuple[list[str], str]:
    tags, paper = EXPECTED[max((start for start in EXPECTED if name.startswith(start)), key=len)]
    if name in OWN_NAMES:
        tags = ["digits", "mnist"]
    return ["in1k"] if name.endswith("_224") else ["cifar100"] if name == "mgnet" else tags, paper


@pytest.mark.parametrize("name", registered_names())
def test_a_name_has_the_data_sets_and_the_paper_of_its_family(name: str) -> None:
    cfgs = get_arch_pretrained_cfgs(name)
    tags, paper = expected(name)
    assert [tagged.partition(".")[2] for tagged in cfgs] == tags
    assert timm.get_pretrained_cfg(name).tag == tags[0]
    for tag, cfg in zip(tags, cfgs.values()):
        data = BY_TIMM_TAG[tag]
        assert (cfg.paper_ids, cfg.paper_name) == (paper, PAPERS[paper])
        assert (cfg.mean, cfg.std, cfg.input_size, cfg.num_classes) == (data.mean, data.std, data.input_size, data.num_classes)
        assert (cfg.license, cfg.classifier) == ("mit", "head.fc")


def test_the_own_networks_are_two_small_ones() -> None:
    assert set(OWN_NAMES) == {"mgnet_2_2_c32_bl", "mgnet_3_2_c24x16_bli"}


@pytest.mark.parametrize(
    "name",
    [
        "mgnet_2_2_c32_bl",
        "mgnet_2_2_2_2_c256_bl",
        "mgresnet18_al_bl",
        "gdfi_lin_lin",
        "plain20",
        "rescsc20",
        "mlcsc",
        "cifar_alexnet",
        "cifar_vgg19_bn",
        "cifar_wrn28_2",
    ],
)
def test_the_last_feature_has_the_stated_size_for_every_data_set(name: str) -> None:
    """28x28 pixels of MNIST tell what rounds up from what rounds down."""
    model = timm.create_model(name, device="meta").eval()
    for cfg in get_arch_pretrained_cfgs(name).values():
        if cfg.pool_size is not None:
            x = torch.empty(1, model.in_chans, *cfg.input_size[1:], device="meta")
            assert tuple(model.forward_features(x).shape[2:]) == tuple(cfg.pool_size)


def test_the_generic_name_says_the_size_of_the_image_since_its_grids_are_not_known() -> None:
    assert timm.get_pretrained_cfg("mgnet").pool_size == (32, 32)


@pytest.mark.parametrize(
    "name, arguments",
    [
        ("mgnet_2_2_c32_bl", {}),
        ("mgresnet18_al_bl", {"channels": (2, 3, 4, 5)}),
        ("gdfi_both_both", {"notation": "MgNet[1,1]-[4]-B^l"}),
        ("plain20", {"channels": (2, 3, 4)}),
        ("rescsc20", {"channels": (2, 3, 4)}),
        ("msdcsc40_k12", {"growth": 2}),
        ("mlcsc", {"coding": (3, 4), "plain": ((5,), (6,))}),
        ("cifar_alexnet", {"widths": ((4,), (5,), (6, 7, 8))}),
        ("cifar_vgg19_bn", {"widths": ((2, 3), (4, 4), (5,), (6,), (7,))}),
        ("cifar_wrn28_2", {"channels": (4, 6, 8)}),
        ("imagenet_alexnet", {"hidden": 10}),
    ],
)
def test_arguments_go_before_those_of_the_name_and_all_grids_are_features(name: str, arguments: dict[str, Any]) -> None:
    whole = timm.create_model(name, device="meta", **arguments)
    features = timm.create_model(name, device="meta", features_only=True, **arguments)
    assert len(features.feature_info) == len(whole.feature_info) == len(whole.grids)
    channels = arguments.get("channels")
    if channels is not None:
        assert [info["num_chs"] for info in whole.feature_info] == list(channels)
    with pytest.raises(RuntimeError, match="No pretrained weights exist"):
        timm.create_model(f"{name}.mnist" if not name.startswith("imagenet") else name, pretrained=True, **arguments)


@pytest.mark.parametrize("feature_cls", ["list", "hook"])
def test_features_of_a_network_that_carries_two_tensors_are_those_of_its_grids(feature_cls: str) -> None:
    arguments: dict[str, Any] = {"notation": "MgNet[1,2]-[4]-B^l"}
    torch.manual_seed(0)
    whole = timm.create_model("mgnet", **arguments).eval()
    features = timm.create_model("mgnet", **arguments, features_only=True, feature_cls=feature_cls).eval()
    weights = whole.state_dict()
    features.load_state_dict({key: weights[key.replace("grids_", "grids.").removeprefix("body.")] for key in features.state_dict()})
    x = torch.randn(2, 3, 8, 8)
    wanted = whole.forward_intermediates(x, intermediates_only=True)
    assert all(torch.equal(found, feature) for found, feature in zip(features(x), wanted, strict=True))


def test_the_generic_name_takes_a_notation_as_text_or_as_a_value_and_the_other_names_theirs() -> None:
    text = timm.create_model("mgnet", notation="MgNet[1,2]-[4]-B^l", stem="imagenet", device="meta")
    value = timm.create_model("mgnet", notation=text.notation, device="meta")
    assert isinstance(value, MgNet)
    assert (text.notation, text.stem_kind, value.stem_kind) == (value.notation, "imagenet", "cifar")
    for suffix, stem in (("", "cifar"), ("_224", "imagenet")):
        named = timm.create_model(f"mgnet_2_2_2_2_c128_256_512_1024_bl{suffix}", device="meta")
        assert (str(named.notation), named.stem_kind) == ("MgNet[2,2,2,2]-[128,256,512,1024]-B^l", stem)
