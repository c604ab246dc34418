"""The tests of mgnet-models are measured by mutation: each small change to its code fails a test, or it is explained."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from verify.mutation.mutants import modules, mutants
from verify.mutation.operators import expressions_instead, statements_instead
from verify.mutation.verdicts import EXPLAINED, explained

ROOT = Path(__file__).parents[2]
MODULES = [module for module in modules() if next(mutants(module), None)]
NAMES = {module: [mutant.name for mutant in mutants(module)] for module in MODULES}
FAMILIES = [module for module in MODULES if module.startswith("families")]
# The share of all mutants that may survive, explained or not.
SURVIVORS = 0.03


def try_mutants(*arguments: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """The engine, which needs a process that has not imported the package."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "tests"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", "-m", "verify.mutation", *arguments, "--folder", str(folder)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "source, others",
    [
        ("a + b", {"a - b"}),
        ("a | b", {"a", "b"}),
        ("a and b and c", {"a or b or c", "b and c", "a and c", "a and b"}),
        ("a < b", {"a >= b", "a <= b"}),
        ("a is None", {"a is not None"}),
        ("not a", {"a"}),
        ("3", {"4"}),
        ("True", {"False"}),
        ("'text'", {"'textX'"}),
        ("a if c else b", {"a", "b"}),
        ("f(x)", {"x"}),
        ("x.f()", {"x"}),
        ("f(a, b, k=c)", {"f(b, a, k=c)", "f(a, b)"}),
        ("x[a:b]", {"x[:b]", "x[a:]"}),
        ("[x for x in y if x]", {"[x for x in y]"}),
    ],
)
def test_an_expression_is_changed_to_each_of_these(source: str, others: set[str]) -> None:
    expression = ast.parse(source, mode="eval").body
    assert {ast.unparse(other) for other in expressions_instead(expression)} == others


@pytest.mark.parametrize(
    "source, others",
    [
        ("f(x)", {"pass"}),
        ("raise e", {"pass"}),
        ("x = y", {"x = None"}),
        ("x = None", set()),
        ("return y", {"return None"}),
        ("x += y", {"pass", "x -= y"}),
        ("if a and b:\n    c", {"if not (a and b):\n    c"}),
        ("while a:\n    b", {"while False:\n    b"}),
        ("for a in b:\n    c", {"for a in ():\n    c"}),
        ("with a:\n    b", {"b"}),
        ("try:\n    a\nexcept E:\n    b", {"try:\n    a\nexcept NotImplementedError:\n    b"}),
        ("@a\ndef f():\n    b", {"def f():\n    b"}),
    ],
)
def test_a_statement_is_changed_to_each_of_these(source: str, others: set[str]) -> None:
    (statement,) = ast.parse(source).body
    found = [ast.fix_missing_locations(ast.Module(instead, [])) for instead in statements_instead(statement)]
    assert {ast.unparse(module) for module in found} == others


def test_every_module_but_the_catalogue_is_in_scope_and_every_mutant_has_its_own_name() -> None:
    names = [(module, name) for module in MODULES for name in NAMES[module]]
    assert len(set(names)) == len(names) > 4000
    assert {module.partition(".")[0] for module in MODULES} == {
        "", "__main__", "children", "families", "mgnet", "nn", "notation", "runtime", "weights",
    }  # fmt: skip


@pytest.mark.parametrize("module", MODULES)
def test_every_explained_change_is_still_made(module: str) -> None:
    assert set(explained(module)) <= set(NAMES[module])


def test_fewer_than_3_of_100_mutants_are_explained() -> None:
    """So a run in which every survivor is explained has a score above 97 %, the explained ones counted as survivors."""
    assert {path.stem for path in EXPLAINED.glob("*.toml")} <= {module or "top" for module in MODULES}
    count = sum(len(explained(module)) for module in MODULES)
    assert count <= SURVIVORS * sum(map(len, NAMES.values()))


@pytest.mark.nightly
def test_the_engine_finds_the_mutants_that_no_test_notices(tmp_path: Path) -> None:
    """A few mutants of two modules by tests that are about one of them."""
    tests = ["tests/models/test_notation.py", "tests/models/test_notation_in_detail.py"]
    run = try_mutants("notation", "mgnet.transfer", "--sample", "16", "--tests", *tests, folder=tmp_path)
    assert run.returncode == 1, run.stdout + run.stderr
    found = re.findall(r"^(\S+) +(\d+) killed of +(\d+)", run.stdout, re.M)
    figures = {module: (int(killed), int(tried)) for module, killed, tried in found}
    killed, tried = figures["notation"]
    assert killed >= 0.8 * tried > 10, run.stdout
    assert figures["mgnet.transfer"][0] < figures["mgnet.transfer"][1]
    assert "survives: mgnet.transfer: " in run.stdout


@pytest.mark.nightly
@pytest.mark.parametrize("chosen", [FAMILIES, [m for m in MODULES if m not in FAMILIES]], ids=["families", "all others"])
def test_every_mutant_is_killed_or_explained(chosen: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = try_mutants(*chosen, folder=tmp_path)
    with capsys.disabled():
        print(run.stdout)
    assert run.returncode == 0, run.stdout + run.stderr
