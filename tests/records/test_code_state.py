"""The commit and `dirty` of the code, in real git repositories."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from mgnet_records.errors import InputError
from mgnet_records.provenance import UNKNOWN, CodeState, code_state, cpu_name, versions


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def module(tmp_path: Path) -> Path:
    """A module in a folder of a repository with one commit, an ignored folder beside it."""
    module = tmp_path / "src" / "module.py"
    module.parent.mkdir()
    module.write_text("x = 1\n")
    (tmp_path / ".gitignore").write_text("/data/\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    return module


def test_a_clean_tree_has_its_commit_and_is_not_dirty(module: Path) -> None:
    assert code_state(module) == CodeState(sha=git(module.parent, "rev-parse", "HEAD"), dirty=False)


def test_a_changed_a_staged_and_an_untracked_file_make_the_tree_dirty(module: Path) -> None:
    other = module.parents[1] / "other.py"
    other.write_text("")
    assert code_state(module).dirty is True
    git(module.parent, "config", "status.showUntrackedFiles", "no")
    assert code_state(module).dirty is True
    git(other.parent, "add", "other.py")
    assert code_state(module).dirty is True
    git(other.parent, "commit", "-qm", "second")
    assert code_state(module).dirty is False
    module.write_text("x = 2\n")
    assert code_state(module).dirty is True


def test_ignored_files_do_not_count(module: Path) -> None:
    data = module.parents[1] / "data"
    data.mkdir()
    (data / "images").write_text("")
    assert code_state(module).dirty is False


def test_what_git_does_not_track_is_unknown_and_not_clean(module: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside")
    installed = module.parents[1] / "data" / "site-packages" / "module.py"
    installed.parent.mkdir(parents=True)
    unborn = tmp_path_factory.mktemp("unborn")
    git(unborn, "init", "-q")
    for file in (outside / "module.py", installed, unborn / "module.py"):
        file.write_text("")
        assert code_state(file) == UNKNOWN
    git(unborn, "add", ".")
    assert code_state(unborn / "module.py") == UNKNOWN


def test_without_git_the_state_is_unknown(module: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert code_state(module) == UNKNOWN


def test_a_repository_of_another_user_is_named_with_the_fix(module: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    with pytest.raises(InputError, match=f"git config --global --add safe.directory {module.parents[1].resolve()}$") as caught:
        code_state(module)
    assert "\n" not in str(caught.value)


def test_git_that_does_not_answer_is_an_error_within_the_deadline(
    module: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    slow = tmp_path_factory.mktemp("bin") / "git"
    slow.write_text("#!/bin/sh\nexec sleep 30\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{slow.parent}:/usr/bin:/bin")
    with pytest.raises(InputError, match=r"git ls-files in .* took more than 0.1 s"):
        code_state(module, deadline=0.1)


def test_the_repository_of_a_git_hook_is_not_asked(
    module: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path_factory.mktemp("hook")))
    assert code_state(module).dirty is False


def test_versions_are_of_python_and_of_each_distribution() -> None:
    found = versions(["mgnet-records", "no-such-distribution"])
    assert found["mgnet-records"] == "0.1.0"
    assert found["no-such-distribution"] is None
    assert next(iter(found)) == "python"
    assert "cores)" in cpu_name()
