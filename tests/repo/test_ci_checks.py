"""The arrows between the packages hold, and an import against them is found and named."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "ci"))

import hosts  # noqa: E402
import layers  # noqa: E402
import versions  # noqa: E402


def test_no_import_goes_against_the_arrows():
    assert list(layers.violations(ROOT)) == []


@pytest.mark.parametrize(
    ("folder", "line", "name"),
    [
        ("packages/mgnet-records/src", "import numpy", "numpy"),
        ("packages/mgnet-records/src", "import mgnet_models", "mgnet_models"),
        ("packages/mgnet-models/src", "import mgnet_train", "mgnet_train"),
        ("packages/mgnet-models/src", "from numpy import array", "numpy"),
        ("packages/mgnet-train/src", "def f():\n    from mgnet_verify import certify", "mgnet_verify"),
        ("packages/mgnet-verify/src", "import mgnet_train.train.step", "mgnet_train"),
        ("leaderboard/src", "import mgnet_models", "mgnet_models"),
    ],
)
def test_an_import_against_the_arrows_is_named(tmp_path, folder, line, name):
    file = tmp_path / folder / "deep" / "module.py"
    file.parent.mkdir(parents=True)
    file.write_text(line + "\n")
    found = list(layers.violations(tmp_path))
    assert len(found) == 1
    assert f"imports {name}" in found[0]


def test_no_file_names_a_registry():
    assert list(hosts.finds(hosts.tracked(ROOT))) == []


@pytest.mark.parametrize("text", ["# from https://" + "pypi" + ".org/simple\n", "x = 'FILES.PYTHON" + "HOSTED.ORG'\n"])
def test_a_registry_host_is_found_wherever_it_stands(tmp_path, text):
    file = tmp_path / "notes.md"
    file.write_text("first\n" + text)
    assert f"{file}:2 names" in next(hosts.finds([file]))


def test_a_lock_file_and_an_index_option_are_found(tmp_path):
    lock, pins = tmp_path / "uv.lock", tmp_path / "constraints.txt"
    lock.write_text("")
    pins.write_text("torch==2.15.0\n--extra-index-url somewhere\n")
    assert len(list(hosts.finds([lock, pins]))) == 2


def test_versions_changelogs_and_tags_agree():
    tags = subprocess.run(["git", "tag"], cwd=ROOT, capture_output=True, check=True, text=True).stdout.split()
    assert list(versions.disagreements(ROOT, tags)) == []


def test_a_version_behind_its_tag_or_changelog_is_named(tmp_path):
    for folder in versions.PACKAGES:
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "pyproject.toml").write_text('[project]\nname = "p"\nversion = "0.2.0"\n')
        (tmp_path / folder / "CHANGELOG.md").write_text("# Changelog\n\n## 0.1.0\n")
    found = list(versions.disagreements(tmp_path, ["p-0.3.0", "other-9.9.9"]))
    assert sum("begins with 0.1.0" in line for line in found) == len(versions.PACKAGES)
    assert sum("behind the tag p-0.3.0" in line for line in found) == len(versions.PACKAGES)


def test_nothing_that_git_ignores_is_tracked():
    """What was added by force, as compiled files or installed packages, is no part of the repository."""
    forced = subprocess.run(["git", "ls-files", "-ci", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True, text=True)
    assert forced.stdout == ""
