"""The duality demo: the two forms run apart and agree, the control fails, and only a digits checkpoint is taken."""

from pathlib import Path

import pytest

import mgnet_models
from mgnet_models.weights.files import packaged_weights
from mgnet_records.demo import DUALITY_DEMO, DualityDemo, fault_of
from mgnet_records.strict_json import read_document
from mgnet_verify.cli import main
from mgnet_verify.diagnose.demo import largest_gap

WEIGHTS = str(packaged_weights("mgnet_3_2_c24x16_bli.digits"))


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> DualityDemo:
    path = tmp_path_factory.mktemp("demo") / "duality.json"
    assert main(["demo", WEIGHTS, "--digit", "7", "--json", str(path)]) == 0
    return read_document(path, DUALITY_DEMO)


def test_the_forms_agree_and_the_control_does_not(demo: DualityDemo) -> None:
    assert largest_gap(demo.grids) < 1e-11
    assert largest_gap(demo.control.grids) > 0.1
    assert fault_of(demo) is None


def test_the_control_fails_from_the_second_system_on_and_not_before(demo: DualityDemo) -> None:
    first = demo.control.grids[0].steps
    assert first[0].gap == 0
    assert all(step.gap > 0.1 for step in first[1:])


def test_every_grid_shows_the_start_and_each_iteration(demo: DualityDemo) -> None:
    nu = mgnet_models.Notation.parse(demo.notation).nu
    assert [len(grid.steps) for grid in demo.grids] == [count + 1 for count in nu]
    first, second = (grid.steps[0] for grid in demo.grids)
    assert {level for row in first.u for level in row} == {0}
    assert (len(first.u), len(first.r), len(second.r)) == (8, 8, 4)
    levels = [level for grid in demo.grids for step in grid.steps for row in step.r for level in row]
    assert max(map(abs, levels)) == 127


def test_the_image_is_the_digit_that_was_asked_for(demo: DualityDemo) -> None:
    assert demo.image.label == demo.image.predicted == 7
    assert len(demo.image.pixels) == 8


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["mgnet_2_2_c32_bl"], "mgnet_2_2_c32_bl is no checkpoint of a MgNet for digits"),
        ([WEIGHTS, "--digit", "1797"], "there is no digit 1797: choose one from 0 to 1796"),
    ],
    ids=["no checkpoint", "no such digit"],
)
def test_other_networks_are_rejected_and_nothing_is_written(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", *arguments, "--json", str(tmp_path / "demo.json")]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
