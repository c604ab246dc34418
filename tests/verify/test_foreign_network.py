"""Anyone's network: one that this repository did not write is certified, and its flaw is found with the place and a small input."""

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest

from mgnet_records.certificate import certificate_schema
from mgnet_verify import Violation
from mgnet_verify.cli import main
from mgnet_verify.testing import properties_of, verify

NAME = "foreign_network"


@pytest.fixture(autouse=True)
def _importable() -> Iterator[None]:
    path = Path(__file__).with_name(f"{NAME}.py")
    spec = importlib.util.spec_from_file_location(NAME, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[NAME] = module
    spec.loader.exec_module(module)
    yield
    del sys.modules[NAME]


def test_a_network_in_another_style_is_certified(tmp_path: Path) -> None:
    assert main(["certify", f"{NAME}:FlatMgNet", "--json", str(tmp_path / "c.json")]) == 0
    document = json.loads((tmp_path / "c.json").read_text(encoding="utf-8"))
    jsonschema.validate(document, certificate_schema())
    assert document["executions"][0] == "feature_form"
    status = {result["name"]: result["status"] for result in document["properties"]}
    assert status["equals_the_specification"] == status["trains_as_specified"] == status["gradients_as_specified"] == "pass"
    assert status["forms_agree"] == "not_applicable"
    assert document["notation"] is None


def test_the_pytest_entry_runs_what_applies() -> None:
    model = sys.modules[NAME].FlatMgNet()
    names = {checked.name for checked in properties_of(model)}
    assert {"equals_the_specification", "evaluation_is_pure", "residuals_do_not_see_Pi"} <= names
    assert "forms_agree" not in names
    for checked in properties_of(model):
        verify(model, checked, examples=1)


def test_a_flaw_is_reported_with_grid_iteration_and_a_small_input(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["certify", f"{NAME}:flawed"]) == 1
    failure = next(line for line in capsys.readouterr().out.splitlines() if "FAIL equals_the_specification" in line)
    assert "(grid 2, iteration 2)" in failure
    assert "seed 0, input 1x3x4x4, image [[[" in failure


def test_the_pytest_entry_raises_the_violation() -> None:
    model = sys.modules[NAME].flawed()
    oracle = next(checked for checked in properties_of(model) if checked.name == "equals_the_specification")
    with pytest.raises(Violation, match=r"equals_the_specification: feature form: .*\(grid 2, iteration 2\)"):
        verify(model, oracle)


@pytest.mark.parametrize(
    "model, message",
    [
        ("no_such_module:Net", "cannot import 'no_such_module'"),
        (f"{NAME}:NoSuchNet", f"module '{NAME}' has no 'NoSuchNet': write package.module:factory"),
        (f"{NAME}:NOT_A_NETWORK", "gives int, not a torch module: name a callable that returns one"),
    ],
)
def test_a_factory_that_gives_no_network_is_one_line(model: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["certify", model]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error
