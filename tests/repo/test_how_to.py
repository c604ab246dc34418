"""The how-to on families says what is so: its paths, quotes and commands exist, and what it says suffices."""

import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOW_TO = (ROOT / "docs" / "how-to" / "add-a-family.md").read_text(encoding="utf-8")
PLACES = re.findall(r"^## \d+\. `([^`]+)`$", HOW_TO, re.MULTILINE)
FAMILY, CLOSED_FORM = (Path(place) for place in PLACES[:2])
SOURCES = ("mgnet-models", "mgnet-verify")


def blocks(language: str, text: str = HOW_TO) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


COMMANDS = [line for block in blocks("sh") for line in block.splitlines()]


def quotes() -> Iterator[tuple[str, str]]:
    """Each run of quoted lines, with the place whose section it is in."""
    for section in re.split(r"^## ", HOW_TO, flags=re.MULTILINE):
        heading = re.match(r"\d+\. `([^`]+)`", section)
        for block in blocks("python", section):
            assert heading is not None, "code is quoted in a section of a place"
            for part in re.split(r"^\.\.\.\n", block, flags=re.MULTILINE):
                yield heading[1], part


def test_at_most_four_places_are_needed_and_the_table_lists_them() -> None:
    assert 0 < len(PLACES) <= 4
    assert re.findall(r"^\| \d+ \| `([^`]+)` \|", HOW_TO, re.MULTILINE) == PLACES


def test_every_path_exists() -> None:
    paths = set(re.findall(r"(?:packages|tests|docs)/[\w./-]+", HOW_TO)) | {
        f"packages/mgnet-models/src/mgnet_models/{path}" for path in re.findall(r"`(families/\w+\.py)`", HOW_TO)
    }
    links = {f"docs/how-to/{target}" for target in re.findall(r"\]\(([^)#:]+)\)", HOW_TO)}
    missing = [path for path in sorted(paths | links) if not (ROOT / path).exists()]
    assert len(paths) > len(PLACES)
    assert missing == []


def test_every_quote_is_in_the_file_of_its_section() -> None:
    found = list(quotes())
    assert {place for place, _ in found} == set(PLACES[:3])
    for place, part in found:
        assert part in (ROOT / place).read_text(encoding="utf-8"), f"{place} has no\n{part}"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_exists(command: str) -> None:
    program, *arguments = shlex.split(command)
    if program == "make":
        assert re.search(rf"^{arguments[0]}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    elif program == "python":
        if arguments[0] == "-m" and not arguments[1].startswith("tests."):
            assert importlib.util.find_spec(arguments[1]) is not None
        elif arguments[0] == "-m":
            assert (ROOT / arguments[1].replace(".", "/")).with_suffix(".py").exists()
    else:
        assert program in {script.name for script in entry_points(group="console_scripts")}


def test_no_name_of_the_example_is_one_of_timm() -> None:
    code = "import timm; print(timm.list_models('*plain*'), 'plain' in timm.list_modules())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[] False\n"


def test_a_copy_of_the_two_files_with_another_name_is_a_new_family(tmp_path: Path) -> None:
    """In a copy of the two packages, where no other file is touched: names, a forward pass and counts three ways."""
    for package in SOURCES:
        shutil.copytree(ROOT / "packages" / package / "src", tmp_path, dirs_exist_ok=True)
    for place in (FAMILY, CLOSED_FORM):
        text = (ROOT / place).read_text(encoding="utf-8")
        for old, new in (("plain", "toy"), ("Plain", "Toy"), ("PLAIN", "TOY")):
            text = text.replace(old, new)
        inside = Path(*place.parts[place.parts.index("src") + 1 :])
        (tmp_path / inside).with_name("toy.py").write_text(text, encoding="utf-8")
    code = """
import mgnet_models, mgnet_verify, sys, timm, torch
from mgnet_verify.cli import main
from mgnet_verify.counts.by_name import closed_form_of
assert all(module.__file__.startswith(sys.argv[1]) for module in (mgnet_models, mgnet_verify))
print(timm.list_models("toy*"), tuple(timm.create_model("toy20.mnist")(torch.zeros(2, 1, 28, 28)).shape))
print(closed_form_of("toy56", in_chans=3, num_classes=10).parameters)
sys.exit(main(["counts", "toy20", "--image", "8x8"]))
"""
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(tmp_path), "PATH": ""},
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "['toy20', 'toy56'] (2, 10)\n853018\n" in result.stdout
    assert "parameters: closed form 275,572, torch 275,572, fvcore 275,572" in result.stdout
    assert "The three counts agree." in result.stdout
