"""Counts three ways: arithmetic from the notation, torch, fvcore; and the figures of the paper's main network."""

import pytest
import timm
import torch

import mgnet_models  # noqa: F401, registers the names
from mgnet_models import Notation
from mgnet_models.notation import StemKind
from mgnet_verify import ModelSpec
from mgnet_verify.cli import main
from mgnet_verify.counts import measured
from mgnet_verify.counts.by_operator import counts
from mgnet_verify.counts.closed_form import mgnet as closed_form
from mgnet_verify.counts.closed_form.mgnet import Form, Shape
from mgnet_verify.counts.closed_form.resnet import DEPTHS, PoolingB, ResNetShape, macs

MAIN = Notation.parse("MgNet[2,2,2,2]-[256]-B^l")
HUNDRED = Shape(num_classes=100)
FORMS: tuple[Form, ...] = ("feature", "residual")


def test_the_main_network_has_the_known_counts() -> None:
    assert closed_form.parameters(MAIN, HUNDRED) == 8_301_924
    assert closed_form.macs(MAIN, HUNDRED, size=(32, 32), form="residual") == 3_602_670_592
    assert closed_form.macs(MAIN, HUNDRED, size=(32, 32), form="feature") == 4_603_012_096


@pytest.mark.parametrize(
    "notation, stem, size, classes, feature, residual",
    [
        ("MgNet[2,2,2,2]-[256]-B^l", "cifar", 32, 10, 4_602_989_056, 3_602_647_552),
        ("MgNet[3,4,6,3]-[128,256,512,1024]-B^{l,i}", "imagenet", 224, 1000, 19_196_354_560, 15_959_400_448),
        ("MgNet[2,2,2,2]-[64,128,256,512]-B^l", "imagenet", 224, 1000, 3_008_663_552, 2_199_425_024),
        ("MgNet[2,2,2,2]-[128,256,512,1024]-B^l", "imagenet", 224, 1000, 11_797_602_304, 8_560_648_192),
        ("MgNet[32,2,2,2]-[256]-B^l", "cifar", 32, 100, 40_841_798_656, 39_841_457_152),
    ],
)
def test_multiply_adds_are_the_known_ones(
    notation: str, stem: StemKind, size: int, classes: int, feature: int, residual: int
) -> None:
    shape = Shape(stem=stem, num_classes=classes)
    counted = {f: closed_form.macs(Notation.parse(notation), shape, size=(size, size), form=f) for f in FORMS}
    assert counted == {"feature": feature, "residual": residual}


def test_the_difference_of_the_forms_does_not_depend_on_nu() -> None:
    def saved(text: str) -> int:
        feature, residual = (closed_form.macs(Notation.parse(text), HUNDRED, size=(32, 32), form=form) for form in FORMS)
        return feature - residual

    one_A = [9 * 256**2 * pixels for pixels in (32 * 32, 16 * 16, 8 * 8, 4 * 4)]
    assert saved("MgNet[2,2,2,2]-[256]-B^l") == saved("MgNet[9,1,7,5]-[256]-B^l") == one_A[0] + 2 * sum(one_A[1:])


def test_the_table_names_every_operator_of_every_grid_once() -> None:
    entries = closed_form.table(MAIN, HUNDRED, size=(32, 32), form="residual")
    runs = {(entry.grid, entry.operator): entry.runs for entry in entries}
    assert len(runs) == len(entries)
    assert sum(runs[grid, "A"] for grid in (1, 2, 3, 4)) == 7
    assert sum(runs[grid, "B"] for grid in (1, 2, 3, 4)) == 8
    assert sum(runs[grid, name] for grid in (2, 3, 4) for name in ("Pi", "R")) == 6


def test_fvcore_and_torch_count_what_the_closed_form_says() -> None:
    notation = Notation.parse("MgNet[2,1,2]-[(5,3),(4,6),(7,2)]-B^{l,i}")
    model = timm.create_model("mgnet", notation=notation, num_classes=9)
    shape = Shape(num_classes=9)
    assert closed_form.parameters(notation, shape) == measured.torch_parameters(model) == measured.fvcore_parameters(model)
    for form in FORMS:
        method = measured.METHODS[form]
        expected = closed_form.macs(notation, shape, size=(9, 14), form=form)
        assert measured.fvcore_macs(model, (3, 9, 14), method) == measured.torch_macs(model, (3, 9, 14), method) == expected


def test_a_count_on_a_small_image_scales_to_a_large_one_and_to_no_other() -> None:
    model = timm.create_model("mgnet", notation="MgNet[1,2]-[4]-B^l", num_classes=9)
    assert measured.scaled_macs(model, (3, 12, 20), (2, 2)) == measured.fvcore_macs(model, (3, 12, 20))
    with pytest.raises(ValueError, match="an image of 12x19 is no multiple of 2x2"):
        measured.scaled_macs(model, (3, 12, 19), (2, 2))


def test_counting_leaves_the_network_alone() -> None:
    model = timm.create_model("mgnet", notation="MgNet[1,2]-[4]-B^l", num_classes=9).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    measured.fvcore_macs(model, (3, 4, 4))
    measured.torch_macs(model, (3, 4, 4))
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(
    "pooling_B, depth_18, depth_34",
    [
        ("lift_s1", 637_211_648, 1_241_191_424),
        ("text", 555_422_720, 1_159_402_496),
        ("proj1x1", 505_091_072, 1_109_070_848),
        ("lift", 618_337_280, 1_222_317_056),
    ],
)
def test_multiply_adds_of_a_resnet_tell_the_interpretations_apart(pooling_B: PoolingB, depth_18: int, depth_34: int) -> None:
    for depth, expected in ((18, depth_18), (34, depth_34)):
        for share_A in (True, False):
            shape = ResNetShape(blocks=DEPTHS[depth], share_A=share_A, share_B=True, preact=False, pooling_B=pooling_B)
            assert macs(shape, in_chans=3, num_classes=10, size=(32, 32)) == expected


@pytest.mark.parametrize(
    "name, arguments",
    [
        ("mgnet", {"notation": "MgNet[2,1,2]-[(5,3),(4,6),(7,2)]-B^{l,i}"}),
        *[("mgresnet18_al_bl", {"pooling_B": interpretation}) for interpretation in ("lift_s1", "text", "proj1x1", "lift")],
        ("mgpreactresnet18_ali_bl", {}),
        ("mgpreactresnet18_al_bli_224", {}),
        *[(f"gdfi_{forms}", {"notation": "MgNet[2,1]-[(3,2),(2,4)]-B^{l,i}"}) for forms in ("lin_pre", "pre_both", "post_lin")],
        ("gdfi_both_both", {"notation": "MgNet[1,2]-[3]-B^l"}),
    ],
)
def test_each_operator_on_each_grid_has_one_count_three_ways(name: str, arguments: dict[str, object]) -> None:
    if "resnet" in name:
        arguments = {"blocks": (1, 2, 1), "channels": (3, 2, 4)} | arguments
    model = timm.create_model(name, num_classes=9, **arguments)
    counted = counts(ModelSpec(name=name, model=model.eval()), (9, 14))
    assert counted.agree
    assert all(
        row.entry.macs > 0 for rows in counted.forms.values() for row in rows if row.entry.operator in ("theta", "classifier")
    )


def test_a_network_that_computes_what_its_notation_does_not_say_is_reported() -> None:
    model = timm.create_model("mgnet", notation="MgNet[1,2]-[3]-B^l", num_classes=2).eval()
    model.grids[0].sigma_u[0] = torch.nn.Sequential(model.grids[0].sigma_u[0], torch.nn.Conv2d(3, 3, 1, bias=False))
    counted = counts(ModelSpec(name="mgnet", model=model), (4, 4))
    wrong = [(row.entry.operator, row.entry.macs, row.torch, row.fvcore) for row in counted.forms["residual"] if not row.agrees]
    assert wrong == [("grids.0.sigma_u.0.1", 0, 144, 144)]
    assert not counted.agree


def test_the_command_prints_the_counts_and_their_convention(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["counts", "mgnet_2_2_c32_bl", "--image", "8x8"]) == 0
    out = capsys.readouterr().out
    assert "parameters: closed form 56,618, torch 56,618, fvcore 56,618" in out
    assert "feature form on 1x8x8: conv + linear multiply-adds, padded zeros counted" in out
    assert out.endswith("The three counts agree.\n")


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["mgnet_2_2_c32_bl", "--image", "1x1"], "image of 1x1 pixels is too small for the 2 grids"),
        (["resnet18"], "no closed form for 'resnet18': the families are MgNet, mgresnet, mgpreactresnet and GDFI"),
    ],
)
def test_what_cannot_be_counted_is_rejected(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["counts", *arguments]) == 2
    assert message in capsys.readouterr().err
