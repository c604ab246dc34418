"""ResNet, pre-act ResNet and GDFI equal Algorithms 1 and 3 of the specification; GDFI with a linear A is MgNet."""

import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import timm
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from mgnet_models import Notation
from mgnet_models.families.mgresnet import ResidualGrid
from mgnet_records.certificate import certificate_schema
from mgnet_verify import Example, ModelSpec, NotDecided, Violation, certify
from mgnet_verify.check.example import Check
from mgnet_verify.cli import main
from mgnet_verify.counts.closed_form.resnet import INTERPRETATIONS
from mgnet_verify.network.protocol import tensors_of, view_of
from mgnet_verify.properties.specification import equals_the_specification
from mgnet_verify.specification import algorithm_2
from mgnet_verify.specification.algorithm1 import IDENTITY
from mgnet_verify.specification.algorithm3 import MapTensors, algorithm_3
from mgnet_verify.testing.cases import notations

FORMS = ("lin", "pre", "post", "both")
RESNETS = [
    f"mg{p}resnet18_{A}_{B}{stem}" for p in ("", "preact") for A in ("al", "ali") for B in ("bl", "bli") for stem in ("", "_224")
]


@pytest.mark.parametrize("name", RESNETS)
@settings(max_examples=3)
@given(
    blocks=st.lists(st.integers(1, 3), min_size=1, max_size=3).map(tuple),
    seed=st.integers(0, 2**32 - 1),
    odd=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    amplitude=st.sampled_from((3, 2**24 + 1)),
    pooling_B=st.sampled_from(tuple(INTERPRETATIONS)),
)
def test_a_resnet_is_algorithm_1(
    name: str, blocks: tuple[int, ...], seed: int, odd: tuple[int, int], amplitude: int, pooling_B: str
) -> None:
    interpretation = {"pooling_B": pooling_B} if name.removesuffix("_224").endswith("_bl") else {}
    model = timm.create_model(name, num_classes=2, blocks=blocks, channels=(2, 3, 2)[: len(blocks)], **interpretation).eval()
    smallest = 2 ** (len(blocks) - 1) * (4 if name.endswith("_224") else 1)
    shape = (2, 3, smallest + odd[0], smallest + odd[1])
    decided(equals_the_specification, model, Example(seed=seed, shape=shape, amplitude=amplitude))


@pytest.mark.nightly
@pytest.mark.parametrize("pooling_B", INTERPRETATIONS)
def test_each_interpretation_of_the_pooling_block_is_certified(pooling_B: str) -> None:
    model = timm.create_model("mgresnet18_al_bl", blocks=(1, 2), channels=(2, 3), num_classes=2, pooling_B=pooling_B).eval()
    certificate = certify(ModelSpec(name="mgresnet18_al_bl", model=model), examples=1, image=(8, 8))
    assert certificate.status == "pass", [result.detail for result in certificate.properties if result.status == "fail"]


def test_an_interpretation_that_the_specification_does_not_know_is_not_decided() -> None:
    model = timm.create_model("mgresnet18_al_bl", blocks=(1, 2), channels=(2, 3), num_classes=2).eval()
    model.grids[1].stride_B = 1
    certificate = certify(ModelSpec(name="mgresnet18_al_bl", model=model), examples=1, image=(8, 8))
    equality = certificate.properties[0]
    assert (certificate.status, equality.status) == ("fail", "not_decided")  # it cannot run, either
    assert "build the network with pooling_B=lift_s1" in equality.detail


def test_one_interpretation_run_as_another_is_a_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    def as_proj1x1(grid: ResidualGrid, i: int, r: Tensor) -> Tensor:
        return grid.B_pool(r) if grid.pooling and i == 0 else grid.B[0 if grid.share_B else i](r)

    monkeypatch.setattr(ResidualGrid, "smooth", as_proj1x1)
    arguments = {"blocks": (1, 2), "channels": (2, 3), "num_classes": 2}
    model = timm.create_model("mgresnet18_al_bl", pooling_B="lift", **arguments).eval()
    with pytest.raises(Violation, match="grid 2"):
        equals_the_specification(model, Example(seed=0, shape=(2, 3, 5, 6)))


@pytest.mark.parametrize("form_B", FORMS)
@pytest.mark.parametrize("form_A", FORMS)
@settings(max_examples=3)
@given(notation=notations(), seed=st.integers(0, 2**32 - 1), odd=st.tuples(st.integers(0, 3), st.integers(0, 3)))
def test_each_scheme_of_table_1_is_algorithm_3(
    form_A: str, form_B: str, notation: Notation, seed: int, odd: tuple[int, int]
) -> None:
    model = timm.create_model(f"gdfi_{form_A}_{form_B}", num_classes=2, notation=notation).eval()
    smallest = 2 ** (len(notation.nu) - 1)
    shape = (2, 3, smallest + odd[0], smallest + odd[1])
    decided(equals_the_specification, model, Example(seed=seed, shape=shape, amplitude=2**12 + 1))


def decided(check: Check, model: nn.Module, example: Example) -> None:
    try:
        check(model, example)
    except NotDecided:
        assume(False)


def test_algorithm_3_with_a_linear_map_is_algorithm_2() -> None:
    model = timm.create_model("mgnet", notation="MgNet[2,3]-[(2,3),(3,2)]-B^{l,i}", num_classes=2)
    example = Example(seed=1, shape=(2, 3, 5, 6))
    net = tensors_of(view_of(example.integer_copy(model)))
    linear = tuple(MapTensors(A_before=(IDENTITY,) * (g.nu + 1), A_after=(IDENTITY,) * (g.nu + 1)) for g in net.grids)
    general, plain = algorithm_3(net, linear, example.pixels()), algorithm_2(net, example.pixels())
    assert np.array_equal(general.logits, plain.logits)
    assert all(np.array_equal(a, b) for x, y in zip(general.grids, plain.grids) for a, b in zip(x.r, y.r))


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["gdfi_post_both", "mgpreactresnet18_al_bl"])
def test_certify_covers_the_related_networks(name: str, tmp_path: Path) -> None:
    assert main(["certify", name, "--json", str(tmp_path / "c.json")]) == 0
    document = json.loads((tmp_path / "c.json").read_text(encoding="utf-8"))
    jsonschema.validate(document, certificate_schema())
    assert {"forward", "grad_checkpointing", "forward_channels_last"} <= set(document["executions"])
    assert document["macs"] is None
    assert len(set(document["parameters"].values())) == 1
