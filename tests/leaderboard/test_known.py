"""What a record says of its network and its recipe is compared with what the packages make; its values are bounded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leaderboard.facts import KNOWN, line_of, names, recipe_hashes
from mgnet_leaderboard.records.known import known_networks, known_recipes, notation_of, parameters_of
from mgnet_leaderboard.records.measured import Measured, measured_id, summarize
from mgnet_leaderboard.records.union import fault_if_committed, path_of, text_of
from mgnet_models.notation import Notation
from mgnet_records.run_result import recipe_sha256
from mgnet_verify.counts.by_name import closed_form_of
from mgnet_verify.counts.closed_form import mgnet

Json = dict[str, Any]
Rejected = Callable[..., str]
AGAIN = "write it again with python -m tests.leaderboard.facts"


def test_the_table_has_every_name_and_recipe_of_today() -> None:
    assert sorted(known_networks()) == names(), AGAIN
    today = recipe_hashes()
    assert today.keys() == known_recipes().keys(), AGAIN
    assert all(today[name] <= set(known_recipes()[name]) for name in today), AGAIN


def test_the_counts_of_the_table_are_those_of_the_closed_forms() -> None:
    compared = 0
    for name in known_networks():
        for classes in (10, 1000):
            counted = closed_form_of(name, in_chans=3, num_classes=classes)
            if counted is not None:
                assert parameters_of(name, in_chans=3, num_classes=classes) == counted.parameters, AGAIN
                compared += 1
    assert compared > 150


@pytest.mark.parametrize("name", ["rescsc20", "mlcsc", "cifar_vgg19_bn", "gdfi_both_pre", "mgnet_2_2_c32_bl"])
def test_the_counts_of_the_table_are_those_of_built_networks(name: str) -> None:
    assert json.loads(KNOWN.read_text(encoding="utf-8"))["networks"][name] == line_of(name), AGAIN


@pytest.mark.nightly
@pytest.mark.parametrize("name", names())
def test_every_count_of_the_table_is_that_of_a_built_network(name: str) -> None:
    assert list(known_networks()[name]) == line_of(name), AGAIN


@st.composite
def notations(draw: st.DrawFn) -> Notation:
    grids = draw(st.integers(1, 4))
    sizes = st.lists(st.integers(1, 300), min_size=grids, max_size=grids)
    c_u = draw(sizes)
    return Notation(
        nu=tuple(draw(st.lists(st.integers(1, 20), min_size=grids, max_size=grids))),
        c_u=tuple(c_u),
        c_f=tuple(draw(st.sampled_from((c_u, draw(sizes))))),
        share_B=draw(st.booleans()),
    )


@given(notation=notations(), stem=st.sampled_from(("cifar", "imagenet")), channels=st.integers(1, 4), classes=st.integers(1, 1000))
def test_any_mgnet_is_known_by_its_name(notation: Notation, stem: Any, channels: int, classes: int) -> None:
    name = notation.timm_name(stem)
    shape = mgnet.Shape(in_chans=channels, num_classes=classes, stem=stem)
    assert notation_of(name) == str(notation)
    assert parameters_of(name, in_chans=channels, num_classes=classes) == mgnet.parameters(notation, shape)


@pytest.mark.parametrize(
    "name",
    [
        *("mgnet", "mgnet_02_2_c32_bl", "mgnet_2_2_c32_32_bl", "mgnet_2_2_c32x32_bl", "mgnet_2_0_c32_bl", "mgnet_2_2_c0_bl"),
        *("mgnet_2_2_c32_64_128_bl", "mgnet_2_2_c32_bl_128", "resnet20", "mgnet_\u0662_2_c32_bl", "mgnet_2_2_c32_bl.digits"),
    ],
)
def test_a_second_spelling_and_a_foreign_name_are_not_known(name: str) -> None:
    assert parameters_of(name, in_chans=1, num_classes=10) is None


def resealed(record: Measured, **changes: Any) -> Measured:
    """The record with other fields, and everything computed again that is computed from them, as a careful cheat would."""
    content = {**record.model_dump(mode="json"), **changes}
    if "values" in content["recipe"]:
        content["recipe"]["sha256"] = recipe_sha256(content["recipe"]["values"])
    edited = Measured.model_validate_json(json.dumps(content))
    edited = edited.model_copy(update={"summary": summarize(edited.runs, edited.dataset.n)})
    return edited.model_copy(update={"id": measured_id(edited)})


DIGITS = {"in_chans": 1, "num_classes": 10}
ATTEMPTS: dict[str, tuple[Json, str]] = {
    "a name that no package knows": ({"model": "resnet50", "notation": None}, "unknown model 'resnet50'"),
    "a name with one letter changed": ({"model": "mgresnet18_al_b1", "notation": None}, "did you mean mgresnet18_al_bl"),
    "a name with a tag": ({"model": "mgnet_2_2_c32_bl.digits"}, "unknown model"),
    "a second spelling of a name": ({"model": "mgnet_2_2_c32_32_bl"}, "unknown model"),
    "one parameter": ({"parameters": 1}, "with 1 input channels and 10 classes has 56,618 parameters, not 1"),
    "one parameter more": ({"parameters": 56_619}, "has 56,618 parameters, not 56,619"),
    "the count of a smaller network without a registered name": (
        {"model": "mgnet_2_2_c8_bl", "notation": None},
        "parameters, not 56,618",
    ),
    "the notation of another network": ({"notation": "MgNet[2,2]-[64]-B^l"}, "the notation is 'MgNet[2,2]-[64]-B^l'"),
    "a notation for a network that has none": ({"model": "rescsc20"}, "but rescsc20 is no MgNet"),
    "arguments of another network": ({"model_args": {**DIGITS, "notation": "MgNet[9,9]-[64]-B^l"}}, "model_args says"),
    "the stem of another network": ({"model_args": {**DIGITS, "stem": "imagenet"}}, "with stem 'imagenet'"),
    "a stem that is none": ({"model_args": {**DIGITS, "stem": [1]}}, "with stem [1]"),
    "no classes": ({"model_args": {"in_chans": 1}}, "lacks num_classes"),
    "three channels of digits": ({"model_args": {"in_chans": 3, "num_classes": 10}}, "images of digits have 1 channels"),
    "channels as text": ({"model_args": {"in_chans": "1", "num_classes": 10}}, "images of digits have 1 channels"),
    "a recipe that is not known": ({"recipe": {"name": "best", "values": {"epochs": 12}}}, "unknown recipe 'best'"),
    "a changed recipe under the old name": (
        {"recipe": {"name": "digits", "values": {"epochs": 12, "lr": 0.2}}},
        "called 'digits+'",
    ),
    "another recipe's name": ({"recipe": {"name": "paper-v2", "values": {"epochs": 12}}}, "not those of recipe 'paper-v2'"),
}


@pytest.mark.parametrize("changes, reason", ATTEMPTS.values(), ids=ATTEMPTS)
def test_a_record_whose_names_are_not_what_they_name_is_rejected(
    tmp_path: Path, measured: Callable[..., Measured], rejected: Rejected, changes: Json, reason: str
) -> None:
    record = resealed(measured(contributor="someone"), **changes)
    path = tmp_path / path_of(record)
    path.parent.mkdir(parents=True)
    path.write_text(text_of(record), encoding="utf-8")
    assert reason in rejected("check", "--results", tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"model_args": {**DIGITS, "sigma": "tanh"}, "parameters": 56_000},
        {"recipe": {"name": "digits+", "values": {"epochs": 12, "lr": 0.2}}},
        {"model": "mgnet_2_2_c8_bl", "notation": "MgNet[2,2]-[8]-B^l", "parameters": 3_794},
    ],
    ids=["changed arguments", "a changed recipe with a plus", "a MgNet without a registered name"],
)
def test_what_says_that_it_is_changed_may_be_contributed(measured: Callable[..., Measured], changes: Json) -> None:
    assert fault_if_committed(resealed(measured(contributor="someone"), **changes)) is None


def run_with(**changes: Any) -> Callable[[Json], None]:
    return lambda content: content["runs"][0].update(changes)


BOUNDS: dict[str, tuple[Callable[[Json], object], str]] = {
    "speed": (run_with(images_per_second=1.7e308), "less than or equal to"),
    "seconds": (run_with(train_seconds=1e10), "less than or equal to"),
    "speed that the epochs do not give": (run_with(images_per_second=5_000.0), "12 epochs of digits have 17244"),
    "longer than from start to end": (run_with(train_seconds=70.0, images_per_second=246.3), "within the 9.5 s"),
    "a year before the paper": (run_with(started="2018-11-21T10:00:00Z"), "started"),
    "a year after 2099": (run_with(finished="2999-11-21T10:00:00Z"), "finished"),
    "year one": (run_with(started="0001-11-21T10:00:00Z"), "started"),
    "a digest of zeros": (run_with(checkpoint_sha256="0" * 64), "a digest of zeros"),
    "a run id of zeros": (run_with(run_id="0" * 32), "a digest of zeros"),
    "data of zeros": (lambda c: c["dataset"].update(sha256="0" * 64), "a digest of zeros"),
    "a commit of zeros": (lambda c: c.update(commit="0" * 40), "a digest of zeros"),
    "epochs": (lambda c: c.update(epochs=10**30), "epochs"),
    "the training split": (lambda c: c["dataset"].update(split="train"), "of split 'train'"),
    "threads": (lambda c: c["execution"].update(threads=10**9), "threads"),
    "a seed beyond 64 bits": (run_with(seed=2**63), "seed"),
    "a mean above 100": (lambda c: c["summary"].update(accuracy_last_mean=1e9), "less than or equal to 100"),
    "text that turns around": (lambda c: c["environment"].update(os="Linux\u202e"), "environment.os"),
    "text of no width": (lambda c: c["environment"].update(cpu="a\u200bb"), "environment.cpu"),
    "a tag character": (lambda c: c["environment"].update(cpu="a\U000e0041"), "invisible character U+E0041"),
    "a version of two lines": (lambda c: c["environment"].update(torch="2.15\n9"), "environment.torch"),
    "an argument that turns around": (lambda c: c["model_args"].update(act="a\u202eb"), "model_args.act"),
    "an argument beyond bounds": (lambda c: c["model_args"].update(width=10**30), "model_args.width"),
    "a recipe value beyond bounds": (lambda c: c["recipe"]["values"].update(lr=1e300), "recipe.values.lr"),
    "a recipe value of markup": (lambda c: c["recipe"]["values"].update(init="<b>"), "recipe.values.init"),
    "a recipe value of many levels": (lambda c: c["recipe"]["values"].update(init=[[[[[1]]]]]), "recipe.values.init"),
    "a link to a script": (lambda c: c.update(link="javascript:alert(1)"), "link"),
    "a link to a host in other letters": (lambda c: c.update(link="https://ex\u0430mple.org"), "link"),
    "a contributor in other letters": (lambda c: c.update(contributor="s\u043emeone"), "contributor"),
}


@pytest.mark.parametrize("change, reason", BOUNDS.values(), ids=BOUNDS)
def test_a_value_that_no_run_has_is_rejected(
    tmp_path: Path,
    measured: Callable[..., Measured],
    place: Callable[..., Path],
    rejected: Rejected,
    change: Callable[[Json], object],
    reason: str,
) -> None:
    path = place(tmp_path, measured(contributor="someone"))
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")
    assert reason in rejected("check", "--results", tmp_path)
