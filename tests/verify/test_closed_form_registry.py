"""Families with a closed form of their own file: by name and by network, beside what torch and fvcore count."""

from typing import Any

import pytest
import timm
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mgnet_models import registered_names
from mgnet_records.datasets import BY_TIMM_TAG
from mgnet_verify import ModelSpec
from mgnet_verify.counts import measured
from mgnet_verify.counts.by_name import closed_form_of
from mgnet_verify.counts.by_operator import counts
from mgnet_verify.counts.closed_form.registry import family_of, registered_families, table_of_model, table_of_name
from models.small_networks import SMALL, build

NAMES = [name for name in registered_names() if table_of_name(name, in_chans=3, num_classes=10, size=(32, 32)) is not None]
QUOTES = ("resnet18", "vgg19", "wide_resnet50_2")  # timm's own, in Table 4
# Each pursuit and number of unfoldings computes other products, ML-CSC with dictionaries of stride 2.
PURSUITS: dict[str, tuple[str, dict[str, Any]]] = {
    "rescsc B": ("rescsc20", {"blocks": (1, 2), "channels": (4, 6), "variant": "B", "normalize": False}),
    "rescsc unfolded": ("rescsc20", {"blocks": (1, 2), "channels": (4, 6), "unfold": 2, "fista": True}),
    "rescsc thresholds": ("rescsc20", {"blocks": (2,), "channels": (4,), "unfold": 1, "normalize": False}),
    "msdcsc plain": ("msdcsc40_k12", {"blocks": 2, "layers": 2, "growth": 4, "stem_channels": 4, "unfold": 0, "norm": "none"}),
    "msdcsc global": ("msdcsc40_k12", {"blocks": 2, "layers": 3, "growth": 4, "unfold": 2, "pursuit": "global", "norm": "all"}),
    "mlcsc": ("mlcsc", {"coding": (3, 4), "plain": ((5,), (4,))}),
    "mlcsc global": ("mlcsc", {"coding": (3, 4, 5), "plain": ((5, 6),), "unfold": 3, "pursuit": "global"}),
}


def small(family: str, **arguments: Any) -> Any:
    """A small network of a family or of a pursuit."""
    if family in SMALL:
        return build(family, **arguments)
    name, own = PURSUITS[family]
    return timm.create_model(name, **(own | arguments))


COUNTED = [*(family for family in sorted(SMALL) if table_of_model(build(family, device="meta"), (8, 8)) is not None), *PURSUITS]


def test_every_registered_family_has_names_and_a_small_network() -> None:
    assert len(registered_families()) <= len(NAMES)
    assert {family_of(small(family)) for family in COUNTED} == set(registered_families())


@pytest.mark.parametrize("tag", ["cifar100", "mnist"])
@pytest.mark.parametrize("name", NAMES)
def test_the_count_by_name_is_that_of_the_network(name: str, tag: str) -> None:
    data = BY_TIMM_TAG[tag]
    in_chans, num_classes = data.input_size[0], data.num_classes
    model = timm.create_model(name, device="meta", in_chans=in_chans, num_classes=num_classes)
    counted = closed_form_of(f"{name}.{tag}", in_chans=in_chans, num_classes=num_classes)
    assert counted is not None
    assert counted.parameters == measured.torch_parameters(model)
    entries = table_of_model(model, (32, 32))
    assert entries is not None
    assert sum(entry.parameters for entry in entries) == measured.torch_parameters(model)


@pytest.mark.parametrize("size", [(8, 8), (9, 14)], ids=str)
@pytest.mark.parametrize("family", COUNTED)
def test_each_operator_of_a_small_network_has_one_count_three_ways(family: str, size: tuple[int, int]) -> None:
    counted = counts(ModelSpec(name=family, model=small(family, in_chans=2).eval()), size)
    assert counted.agree
    entries = [row.entry for row in counted.forms["forward"]]
    assert all(entry.macs > 0 for entry in entries if entry.operator not in ("sigma", "c"))


@pytest.mark.parametrize("family", COUNTED)
def test_a_convolution_that_the_closed_form_does_not_know_is_reported(family: str) -> None:
    model = small(family).eval()
    c = model.num_features
    model.norm = nn.Conv2d(c, c, 1, bias=False)
    counted = counts(ModelSpec(name=family, model=model), (8, 8))
    assert not counted.agree
    assert counted.parameters.torch == counted.parameters.closed_form + c * c


@pytest.mark.parametrize("name", [name for name in (*registered_names(), *QUOTES) if name != "mgnet"])  # which has no size
def test_the_multiply_adds_of_every_name_are_those_that_torch_counts(name: str) -> None:
    """On the image that timm's configuration names; a family without a closed form would be None here."""
    model = timm.create_model(name, device="meta").eval()
    size = model.pretrained_cfg["input_size"]
    counted = closed_form_of(name, in_chans=size[0], num_classes=model.num_classes, size=size[1:])
    assert counted is not None
    assert counted.parameters == measured.torch_parameters(model)
    assert counted.macs == measured.torch_macs(model, size)


STAGES = st.lists(st.tuples(st.integers(1, 4), st.integers(1, 5)), min_size=1, max_size=4)


@settings(deadline=None)
@given(STAGES, st.integers(1, 4), st.integers(1, 6), st.integers(1, 17), st.integers(1, 17))
def test_plain_networks_of_any_depth_and_width_have_the_closed_form(
    stages: list[tuple[int, int]], in_chans: int, num_classes: int, h: int, w: int
) -> None:
    convolutions, channels = zip(*stages)
    model = timm.create_model(
        "plain20", convolutions=convolutions, channels=channels, in_chans=in_chans, num_classes=num_classes, device="meta"
    )
    entries = table_of_model(model, (h, w))
    assert entries is not None
    assert sum(entry.parameters for entry in entries) == measured.torch_parameters(model)
    assert sum(entry.macs for entry in entries) == measured.torch_macs(model, (in_chans, h, w))


@pytest.mark.parametrize("name, millions, exact", [("plain20", 0.27, 269_722), ("plain56", 0.85, 853_018)])
def test_plain_networks_have_the_counts_of_the_resnets_without_shortcut_weights(name: str, millions: float, exact: int) -> None:
    """Table 6 of He et al. prints 0.27 and 0.85 million for ResNet-20 and ResNet-56, whose shortcuts have no parameters."""
    counted = closed_form_of(name, in_chans=3, num_classes=10)
    assert counted is not None
    assert counted.parameters == exact
    assert round(exact / 1e6, 2) == millions


def test_a_name_that_only_looks_like_one_of_a_family_has_no_closed_form() -> None:
    assert closed_form_of("plain21", in_chans=3, num_classes=10) is None
    assert closed_form_of("plain20x", in_chans=3, num_classes=10) is None
