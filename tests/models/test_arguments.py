"""Arguments that mean nothing, of every family: refused by name in one line, before anything large is built."""

import inspect
import time
from typing import Any

import numpy as np
import pytest
import timm

from mgnet_models import MgNet, Notation
from mgnet_models.notation import MAX_ITERATIONS
from models.small_networks import SMALL

FAMILIES = SMALL | {
    "mlcsc": ("mlcsc", {}),
    "cifar_alexnet": ("cifar_alexnet", {}),
    "wide": ("cifar_wrn28_2", {}),
    "alexnet": ("imagenet_alexnet", {"hidden": 16}),
}
NO_SIZE: list[Any] = [0, -1, True, 2.0, 2.5, "3", 10**9, 10**12, 10**400, float("nan"), np.float32(3), np.bool_(True), [3, 3]]
NO_LIST: list[Any] = [(), 3, "ab", [0, 0], [-1, 2], [True, 2], [1.0, 2], [10**9, 1], [10**30, 1], [[1], [1]], ["a", "b"], {"a": 1}]
BAD: dict[str, list[Any]] = {
    "in_chans": NO_SIZE,
    "num_classes": [-1, True, 2.0, "3", 10**9, 10**400, float("nan"), np.float32(3), [3]],
    "global_pool": ["nonsense", 3, ["avg"], "AVG "],
    "drop_rate": [-0.1, 1.5, True, "x", float("nan"), [0.1]],
    "drop_path_rate": [-0.1, 1.5, True, "x", float("nan")],
    "transfer_kernel": NO_SIZE,
    "blocks": NO_LIST,
    "channels": NO_LIST,
    "convolutions": NO_LIST,
    "coding": NO_LIST,
    "widths": [(), 3, "ab", ((),), ((0,),), ((1.5,),), ((10**9,),), [1, 2]],
    "plain": [(), 3, "ab", ((),), ((0,),), ((1.5,),), ((10**9,),), [1, 2]],
    "kernels": NO_LIST,
    "stem_stride": NO_SIZE,
    "stem_channels": NO_SIZE,
    "hidden": NO_SIZE,
    "layers": NO_SIZE,
    "growth": NO_SIZE,
    "dilations": NO_SIZE,
    "unfold": [-1, True, 1.5, "3", 10**9, 10**400],
    "share_A": ["false", 1, 0.0],
    "share_B": ["false", 1],
    "preact": ["no", 1],
    "normalize": ["no", 0],
    "fista": ["no", 0],
    "transfer_sigma": ["no", 0],
    "batch_norm": ["no", 0],
    "bottleneck": ["no", 0],
    "pursuit": ["nonsense", 3],
    "variant": ["C", 3],
    "norm": ["nonsense", 3],
    "stem": ["nonsense", 3],
    "form_A": ["nonsense", 3],
    "form_B": ["nonsense", 3],
    "pooling_B": ["nonsense", 3],
    "norm_layer": ["nonsense"],
    "act_layer": ["nonsense"],
}


def arguments_of(family: str) -> list[str]:
    model = timm.create_model(FAMILIES[family][0], device="meta", **FAMILIES[family][1])
    return list(inspect.signature(type(model).__init__).parameters)[1:]


@pytest.mark.parametrize("family", FAMILIES)
def test_each_argument_that_means_nothing_is_rejected_by_name_in_one_line_within_a_second(family: str) -> None:
    name, arguments = FAMILIES[family]
    tried = 0
    for argument in arguments_of(family):
        values = NO_SIZE if argument == "blocks" and family in ("msdcsc", "msdnet") else BAD.get(argument, [])
        if argument in ("form_A", "form_B"):  # given by the name
            values = []
        for value in values:
            start = time.monotonic()
            with pytest.raises(ValueError, match=argument) as error:
                timm.create_model(name, **arguments | {argument: value})
            assert "\n" not in str(error.value)
            assert len(str(error.value)) < 400
            assert time.monotonic() - start < 5  # a loaded machine is slow; minutes were the fault
            tried += 1
    assert tried > 30


def test_every_argument_of_every_family_has_bad_values_here() -> None:
    """A new argument comes with its check."""
    taken_anyway = {"device", "dtype", "notation"}
    assert {argument for family in FAMILIES for argument in arguments_of(family)} - taken_anyway == set(BAD)


@pytest.mark.parametrize("family", FAMILIES)
def test_integers_of_numpy_are_integers(family: str) -> None:
    name, arguments = FAMILIES[family]
    given = arguments | {"in_chans": np.int64(1), "num_classes": np.uint8(4)}
    for argument in ("blocks", "channels", "convolutions"):
        if isinstance(given.get(argument), tuple):
            given[argument] = np.array(given[argument])
    model = timm.create_model(name, device="meta", **given)
    assert sum(p.numel() for p in model.parameters()) == sum(
        p.numel() for p in timm.create_model(name, device="meta", **arguments | {"in_chans": 1, "num_classes": 4}).parameters()
    )


@pytest.mark.parametrize(
    "text, message",
    [
        ("MgNet[99999999]-[1]-B^l", f"makes 99999999 iterations: use at most {MAX_ITERATIONS:,}"),
        ("MgNet[4000,4000]-[1]-B^l", "makes 8000 iterations"),
        ("MgNet[1]-[30000]-B^l", "has 16,200,000,000 weights: use at most 536,870,912, with fewer channels or with B\\^l"),
        ("MgNet[1]-[99999999999999999999]-B^l", "channels: use at most 65,536"),
        ("MgNet[4096]-[256]-B^{l,i}", "has 2,416,508,928 weights"),
        (f"MgNet[{','.join(['1'] * 33)}]-[1]-B^l", "33 grids: use at most 32"),
        (f"MgNet[{','.join(['1'] * 100_000)}]-[1]-B^l", "malformed notation"),
        ("MgNet[" + "9" * 5000 + "]-[1]-B^l", "malformed notation"),
        ("MgNet[" + "9" * 900 + "]-[1]-B^l", "iterations: use at most"),
        ("MgNet[\u0663]-[8]-B^l", "is not a number of iterations"),
        ("MgNet[2]-[\u0668]-B^l", "is not a list of channels"),
        ("MgNet[1e3]-[8]-B^l", "is not a number of iterations"),
        ("MgNet[2.0]-[8]-B^l", "is not a number of iterations"),
        ("MgNet[]-[8]-B^l", "is not a number of iterations"),
        ("MgNet[2]-[]-B^l", "is not a list of channels"),
        ("", "malformed notation"),
    ],
    ids=lambda value: value[:30],
)
def test_a_notation_beyond_the_limits_is_rejected_in_one_line_within_a_second(text: str, message: str) -> None:
    for build in (Notation.parse, MgNet, lambda notation: timm.create_model("gdfi_both_both", notation=notation)):
        start = time.monotonic()
        with pytest.raises(ValueError, match=message) as error:
            build(text)
        assert "\n" not in str(error.value)
        assert len(str(error.value)) < 500
        assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    "change, message",
    [
        ({"nu": (2.0,)}, r"nu=2\.0 is no whole number"),
        ({"nu": (True,)}, "nu=True is no whole number"),
        ({"c_u": ("8",)}, "c_u='8' is no whole number"),
        ({"c_f": (None,)}, "c_f=None is no whole number"),
        ({"share_B": "false"}, "share_B='false': use True"),
        ({"share_B": 1}, "share_B=1: use True"),
    ],
    ids=str,
)
def test_a_notation_of_other_types_is_rejected(change: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"nu": (1,), "c_u": (8,), "c_f": (8,), "share_B": True}
    with pytest.raises(ValueError, match=message):
        Notation(**given | change)


def test_a_notation_of_numpy_integers_is_one_of_integers() -> None:
    made = Notation(nu=np.array([1, 2]), c_u=(np.int32(8), 4), c_f=[8, 4], share_B=True)  # type: ignore[arg-type]
    assert made == Notation.parse("MgNet[1,2]-[8,4]-B^l")
    assert hash(made) == hash(Notation.parse("MgNet[1,2]-[8,4]-B^l"))


@pytest.mark.parametrize("family", ["mgnet_bl", "preact_al_bli", "msdcsc", "cifar_alexnet"])
def test_a_new_classifier_that_means_nothing_is_rejected_and_the_old_one_stays(family: str) -> None:
    name, arguments = FAMILIES[family]
    model = timm.create_model(name, device="meta", **arguments)
    classifier, classes = model.get_classifier(), model.num_classes
    for value in BAD["num_classes"]:
        with pytest.raises(ValueError, match="num_classes"):
            model.reset_classifier(value)
    with pytest.raises(ValueError, match="global_pool='nonsense' is unknown"):
        model.reset_classifier(3, "nonsense")
    assert model.get_classifier() is classifier
    assert model.num_classes == classes
