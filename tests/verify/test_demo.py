"""The duality demo: the two forms run apart and stay together, the control parts, and only a digits checkpoint is taken."""

import json
from pathlib import Path

import pytest

import mgnet_models
from mgnet_models.weights.packaged import packaged_weights
from mgnet_verify.cli import main

WEIGHTS = str(packaged_weights("mgnet_3_2_c24x16_bli.digits"))


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    path = tmp_path_factory.mktemp("demo") / "duality.json"
    assert main(["demo", WEIGHTS, "--digit", "7", "--json", str(path)]) == 0
    return json.loads(path.read_text())


def largest_gap(grids):
    return max(step["gap"] for grid in grids for step in grid["steps"])


def test_the_forms_stay_together_and_the_control_parts(demo):
    assert largest_gap(demo["grids"]) < 1e-11
    assert largest_gap(demo["control"]["grids"]) > 0.1


def test_every_grid_shows_the_start_and_each_iteration(demo):
    nu = mgnet_models.Notation.parse(demo["notation"]).nu
    assert [len(grid["steps"]) for grid in demo["grids"]] == [count + 1 for count in nu]
    first, second = (grid["steps"][0] for grid in demo["grids"])
    assert {level for row in first["u"] for level in row} == {0}
    assert (len(first["r"]), len(second["r"])) == (8, 4)
    levels = [level for grid in demo["grids"] for step in grid["steps"] for row in step["r"] for level in row]
    assert max(map(abs, levels)) == 127


def test_the_image_is_the_digit_that_was_asked_for(demo):
    assert demo["image"]["label"] == demo["image"]["predicted"] == 7
    assert len(demo["image"]["pixels"]) == 8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mgnet_2_2_c32_bl"], "mgnet_2_2_c32_bl is no checkpoint of a MgNet for digits"),
        ([WEIGHTS, "--digit", "1797"], "there is no digit 1797: choose one from 0 to 1796"),
    ],
)
def test_other_targets_are_refused_and_nothing_is_written(arguments, message, tmp_path: Path, capsys):
    assert main(["demo", *arguments, "--json", str(tmp_path / "demo.json")]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
