"""The notation at its edges: each wrong entry is named with its place, each accepted spelling means one network."""

import dataclasses

import pytest

from mgnet_models import Notation, check_image_size
from mgnet_models.nn.layers import make_act, make_norm, make_norm_act

TWO = Notation(nu=(1, 2), c_u=(3, 4), c_f=(5, 6), share_B=True)


def test_a_notation_is_a_value() -> None:
    assert dataclasses.replace(TWO) == TWO
    assert len({TWO, dataclasses.replace(TWO)}) == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        TWO.nu = (1,)  # type: ignore[misc]
    with pytest.raises(TypeError, match="positional"):
        Notation((1,), (1,), (1,), True)  # type: ignore[misc]
    assert Notation.of(TWO) is TWO
    assert Notation.of(str(TWO)) == TWO


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"nu": (), "c_u": (), "c_f": ()}, "nu=() names no grid: give one number of iterations for each grid, as in MgNet["),
        ({"nu": (1, 0)}, "nu=0 on grid 2: each grid needs at least one smoothing iteration"),
        ({"nu": (0, 1)}, "nu=0 on grid 1: each grid needs at least one smoothing iteration"),
        ({"c_u": (3,)}, "c_u=[3] has 1 entries for 2 grids: give one for all grids or exactly 2"),
        ({"c_f": (3, 4, 5)}, "c_f=[3, 4, 5] has 3 entries for 2 grids: give one for all grids or exactly 2"),
        ({"c_u": (3, 0)}, "c_u=0 on grid 2: each grid needs at least one channel"),
        ({"c_f": (-1, 3)}, "c_f=-1 on grid 1: each grid needs at least one channel"),
    ],
)
def test_each_wrong_entry_is_named_with_its_grid(arguments: dict[str, tuple[int, ...]], message: str) -> None:
    with pytest.raises(ValueError) as error:
        dataclasses.replace(TWO, **arguments)
    assert str(error.value).startswith(message)


def test_one_iteration_and_one_channel_are_enough() -> None:
    smallest = Notation(nu=(1,), c_u=(1,), c_f=(1,), share_B=False)
    assert str(smallest) == "MgNet[1]-[1]-B^{l,i}"
    assert smallest.timm_name() == "mgnet_1_c1_bli"


@pytest.mark.parametrize(
    "text, printed",
    [
        ("mgnet[2,2]-[64]-b^l", "MgNet[2,2]-[64]-B^l"),
        ("MGNET [ 2 , 2 ] - [ 64 ] - B^L", "MgNet[2,2]-[64]-B^l"),
        ("MgNet[2,2]-64-B^l", "MgNet[2,2]-[64]-B^l"),
        ("MgNet[2,2]-[(3,4)]-B^{L,I}", "MgNet[2,2]-[(3,4)]-B^{l,i}"),
        ("MgNet[2,2]-[(3,4),5]-B^l,i", "MgNet[2,2]-[(3,4),(5,5)]-B^{l,i}"),
        ("$\\text{MgNet}[2,\\,2]-[64,128]-B^{\\ell,i}$", "MgNet[2,2]-[64,128]-B^{l,i}"),
        ("$\\mathrm{MgNet}[2,2]-[64]-B^{\u2113}$", "MgNet[2,2]-[64]-B^l"),
        ("MgNet[12]-[640]-B^\u2113", "MgNet[12]-[640]-B^l"),
        ("MgNet[2,2]-\n[64]-B^l", "MgNet[2,2]-[64]-B^l"),
        ("MgNet[1,1]-[(3,4),(3,4)]-B^l", "MgNet[1,1]-[(3,4)]-B^l"),
        ("MgNet[1,1]-[3,3]-B^l", "MgNet[1,1]-[3]-B^l"),
    ],
)
def test_each_spelling_is_printed_in_one_way(text: str, printed: str) -> None:
    assert str(Notation.parse(text)) == printed


EXAMPLES = ("MgNet[2,2,2,2]-[256]-B^l ", "MgNet[4,2]-[(64,32),(128,64)]-B^{l,i}")


@pytest.mark.parametrize(
    "text, told",
    [
        ("", ("''", *EXAMPLES)),
        ("MgNet[2,2]-[64]-B^l and more", EXAMPLES),
        ("a MgNet[2,2]-[64]-B^l", EXAMPLES),
        ("MgNet[" + "2," * 500 + "2]-[64]-B^l", EXAMPLES),
        ("MgNet[]-[64]-B^l", ("'' is not a number of iterations",)),
        ("MgNet[2,]-[64]-B^l", ("'' is not a number of iterations",)),
        ("MgNet[2x]-[64]-B^l", ("'2x' is not a number of iterations",)),
        ("MgNet[2]-[]-B^l", ("is not a list of channels, as in [64,128] or [(64,32),(128,64)]",)),
        ("MgNet[2]-[64,]-B^l", ("64,", "is not a list of channels")),
        ("MgNet[2]-[(3,4)(5,6)]-B^l", ("(3,4)(5,6)", "is not a list of channels")),
        ("MgNet[2]-[(3,4,5)]-B^l", ("(3,4,5)", "is not a list of channels")),
        ("MgNet[1,1,1]-[3,4]-B^l", ("3,4", "has 2 entries for 3 grids: give one for all grids or exactly 3")),
    ],
)
def test_what_cannot_be_read_is_shown_with_what_could_be_meant(text: str, told: tuple[str, ...]) -> None:
    with pytest.raises(ValueError) as error:
        Notation.parse(text)
    message = str(error.value)
    assert message.startswith("malformed notation ")
    assert text[:20] in message
    assert len(message) < 400
    assert [part for part in told if part not in message] == []


def test_a_thousand_characters_are_read_and_no_more() -> None:
    text = "MgNet[1]-[2]-B^l".ljust(1000)
    assert str(Notation.parse(text)) == text.strip()
    with pytest.raises(ValueError, match="malformed notation"):
        Notation.parse(text + " ")
    name = f"mgnet_1_c{'2'.rjust(988, '0')}_bl"
    assert len(name) == 1000
    assert Notation.from_timm_name(name)[0] == Notation.parse(text)
    with pytest.raises(ValueError, match="MgNet name"):
        Notation.from_timm_name(name.replace("_c", "_c0"))


@pytest.mark.parametrize(
    "name, printed, stem",
    [
        ("mgnet_1_c2_bl", "MgNet[1]-[2]-B^l", "cifar"),
        ("mgnet_10_2_c24x16_bli", "MgNet[10,2]-[(24,16)]-B^{l,i}", "cifar"),
        ("mgnet_1_2_c3_4x5_bl_224", "MgNet[1,2]-[(3,3),(4,5)]-B^l", "imagenet"),
    ],
)
def test_a_name_means_one_network(name: str, printed: str, stem: str) -> None:
    notation, kind = Notation.from_timm_name(name)
    assert (str(notation), kind) == (printed, stem)


@pytest.mark.parametrize("name", ["mgnet", "resnet18", "mgnet_2_c_bl", "mgnet_2_c3_bx", "mgnet_2_c3_bl_225", "my_mgnet_2_c3_bl"])
def test_another_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError) as error:
        Notation.from_timm_name(name)
    for part in (repr(name), "MgNet name: write it as in mgnet_2_2_2_2_c256_bl or mgnet_3_4_6_3_c128_256_512_1024_bli_224"):
        assert part in str(error.value)


def test_a_name_with_other_channels_than_grids_is_refused() -> None:
    with pytest.raises(ValueError, match="c_u=\\[3, 4\\] has 2 entries for 3 grids"):
        Notation.from_timm_name("mgnet_1_1_1_c3_4_bl")


@pytest.mark.parametrize("stem, smallest", [("cifar", 2), ("imagenet", 8)])
def test_the_smaller_side_of_an_image_decides(stem: str, smallest: int) -> None:
    check_image_size(TWO, stem, (smallest, 100))  # type: ignore[arg-type]
    for size in ((smallest - 1, 100), (100, smallest - 1)):
        with pytest.raises(ValueError) as error:
            check_image_size(TWO, stem, size)  # type: ignore[arg-type]
        assert str(error.value) == (
            f"image of {size[0]}x{size[1]} pixels is too small for the 2 grids of MgNet[1,2]-[(3,5),(4,6)]-B^l: "
            f"use at least {smallest}x{smallest} pixels or fewer grids"
        )


def test_layers_that_timm_does_not_know_are_named_with_their_argument() -> None:
    with pytest.raises(ValueError, match=r"^act_layer='rely' is unknown to timm: use 'relu', 'gelu', 'silu' \.\.\.$"):
        make_act("rely")
    for make in (make_norm, lambda name, dd: make_norm_act(name, "relu", dd)):
        with pytest.raises(ValueError, match=r"^norm_layer='batch' is unknown to timm: use 'batchnorm2d', 'groupnorm1', '"):
            make("batch", {})
    with pytest.raises(ValueError, match=r"^act_layer='rely' is unknown"):
        make_norm_act("batch", "rely", {})
