"""The paper's notation (3.8) as a value: it reads what it writes, in every spelling, and refuses what means nothing."""

from typing import get_args

import pytest
from hypothesis import given

from mgnet_models import Notation, TableRow, check_image_size, table_rows
from mgnet_models.notation import StemKind
from models.strategies import NOTATIONS


@given(NOTATIONS)
def test_a_notation_reads_back_what_it_prints(notation: Notation) -> None:
    assert Notation.parse(str(notation)) == notation


@given(NOTATIONS)
def test_the_timm_name_and_stem_read_back_to_the_same_network(notation: Notation) -> None:
    stems: tuple[StemKind, ...] = get_args(StemKind)
    for stem in stems:
        assert Notation.from_timm_name(notation.timm_name(stem)) == (notation, stem)


@given(NOTATIONS)
def test_the_latex_spelling_means_the_same(notation: Notation) -> None:
    latex = str(notation).replace("MgNet", "$\\mathrm{MgNet}").replace("B^l", "B^{\\ell").replace("{\\ell,i}", "\\ell,i") + "$"
    spaced = latex.replace(",", ", ").replace("-", " - ")
    assert Notation.parse(spaced) == notation


@pytest.mark.parametrize("row", [row for row in table_rows() if row.model_printed.startswith("MgNet")], ids=lambda row: row.id)
def test_every_mgnet_of_a_table_row_parses_to_its_registered_name(row: TableRow) -> None:
    stem: StemKind = "imagenet" if row.dataset == "ImageNet" else "cifar"
    assert Notation.parse(row.model_printed).timm_name(stem) == row.model


@pytest.mark.parametrize(
    "text, name",
    [
        ("MgNet[2,2,2,2]-[256]-B^l", "mgnet_2_2_2_2_c256_bl"),
        ("MgNet[3,4,6,3]-[128,256,512,1024]-B^{l,i}", "mgnet_3_4_6_3_c128_256_512_1024_bli"),
        ("MgNet[4,2,2]-[(64,32),(128,64),(256,128)]-B^{l,i}", "mgnet_4_2_2_c64x32_128x64_256x128_bli"),
    ],
    ids=["one channel number", "channels for each grid", "channels of u and of f"],
)
def test_names_follow_the_rule(text: str, name: str) -> None:
    assert Notation.parse(text).timm_name() == name
    assert Notation.parse(text).timm_name("imagenet") == name + "_224"


@pytest.mark.parametrize(
    "text, message",
    [
        ("MgNet(2,2)-256", "malformed notation 'MgNet\\(2,2\\)-256': write it as in MgNet"),
        ("MgNet[2,2]-[64]-B^k", "malformed notation"),
        ("MgNet[2,x]-[64]-B^l", "'x' is not a number of iterations"),
        ("MgNet[2,2]-[6a]-B^l", r"'6a' is not a list of channels"),
        ("MgNet[2,2]-[64,64,64]-B^l", r"channel list '64,64,64' has 3 entries for 2 grids: give one for all grids or exactly 2"),
        ("MgNet[2,0]-[64]-B^l", "nu=0 on grid 2: each grid needs at least one smoothing iteration"),
        ("MgNet[2,-1]-[64]-B^l", "nu=-1 on grid 2"),
        ("MgNet[2,2]-[0]-B^l", "c_u=0 on grid 1: each grid needs at least one channel"),
    ],
    ids=[
        "round brackets",
        "unknown sharing",
        "letter in nu",
        "letter in channels",
        "unequal lengths",
        "nu of zero",
        "negative nu",
        "no channels",
    ],
)
def test_a_malformed_notation_is_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        Notation.parse(text)
    assert "\n" not in str(error.value)


def test_lists_of_unequal_length_are_refused() -> None:
    with pytest.raises(ValueError, match=r"c_f=\[8\] has 1 entries for 2 grids"):
        Notation(nu=(1, 1), c_u=(8, 8), c_f=(8,), share_B=True)


def test_an_image_must_be_large_enough_for_every_grid_to_be_coarser() -> None:
    four = Notation.parse("MgNet[2,2,2,2]-[256]-B^l")
    check_image_size(four, "cifar", (8, 8))
    check_image_size(four, "imagenet", (32, 40))
    with pytest.raises(
        ValueError, match=r"image of 32x7 pixels is too small for the 4 grids .* use at least 8x8 pixels or fewer grids"
    ):
        check_image_size(four, "cifar", (32, 7))
    with pytest.raises(ValueError, match="use at least 32x32 pixels"):
        check_image_size(four, "imagenet", (31, 224))
