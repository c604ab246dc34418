"""The workflows can do no more than they must, and the contribution check judges a real pull request as data."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from mgnet_leaderboard.records.measured import Measured

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
ACTIONS = sorted((ROOT / "ci" / "workflows").glob("*/action.yml"))
CHECK = ROOT / "ci" / "workflows" / "contribution" / "check.sh"
PIN = re.compile(r"^actions/[a-z-]+@[0-9a-f]{40}$")


def steps(path: Path) -> list[dict[str, Any]]:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    if "runs" in content:
        return list(content["runs"]["steps"])
    return [step for job in content["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_reads_only_and_never_runs_with_the_base_branchs_rights(path: Path) -> None:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    # YAML 1.1 reads the key `on` as true.
    assert "pull_request_target" not in content[True]
    assert content["permissions"] == {"contents": "read"}
    assert "secrets." not in path.read_text(encoding="utf-8")
    writing = {name for name, job in content["jobs"].items() if "permissions" in job}
    assert writing == ({"publish"} if path.stem == "site" else set())
    assert all("timeout-minutes" in job for job in content["jobs"].values())


def test_the_job_that_publishes_runs_no_code_of_the_repository() -> None:
    content = yaml.safe_load((ROOT / ".github" / "workflows" / "site.yml").read_text(encoding="utf-8"))
    publish = content["jobs"]["publish"]
    assert publish["permissions"] == {"pages": "write", "id-token": "write"}
    assert publish["if"] == "github.event_name == 'push'"
    assert [step["uses"].split("@")[0] for step in publish["steps"]] == ["actions/deploy-pages"]


@pytest.mark.parametrize("path", [*WORKFLOWS, *ACTIONS], ids=lambda path: f"{path.parent.name}-{path.name}")
def test_every_action_is_pinned_and_no_expression_stands_in_a_command(path: Path) -> None:
    for step in steps(path):
        if "uses" in step:
            assert PIN.match(step["uses"]) or step["uses"].startswith(("./ci/workflows/", "./base/ci/workflows/"))
        assert "${{" not in step.get("run", "")
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_local_action_exists(path: Path) -> None:
    for step in steps(path):
        if step.get("uses", "").startswith("./"):
            folder = step["uses"].removeprefix("./").removeprefix("base/")
            assert (ROOT / folder / "action.yml").is_file()


class PullRequest:
    """A repository with a base branch of records, its clone `base`, and a pull request number 7 on top."""

    def __init__(self, folder: Path, results: Path) -> None:
        self.folder = folder
        self.origin = folder / "origin"
        self.results = self.origin / "leaderboard" / "results"
        shutil.copytree(results, self.results)
        self.git("init", "--quiet", "--initial-branch=main")
        self.commit("base")
        self.base = self.git("rev-parse", "HEAD")
        subprocess.run(["git", "clone", "--quiet", str(self.origin), str(folder / "base")], check=True)

    def git(self, *arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b.example", "-c", "commit.gpgsign=false"]
        command = ["git", *identity, *arguments]
        return subprocess.run(command, cwd=self.origin, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self, message: str) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)

    def check(self, number: str = "7") -> subprocess.CompletedProcess[str]:
        self.commit("contribution")
        self.git("update-ref", "refs/pull/7/merge", "HEAD")
        validator = self.folder / "validator"
        validator.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m mgnet_leaderboard "$@"\n', encoding="utf-8")
        validator.chmod(0o755)
        environment = {
            "PATH": "/usr/bin:/bin:/usr/local/bin",
            "BASE": self.base,
            "NUMBER": number,
            "VALIDATOR": str(validator),
            "GITHUB_STEP_SUMMARY": str(self.folder / "summary"),
        }
        command = ["sh", str(CHECK)]
        return subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def pull_request(tmp_path: Path, results: Path) -> PullRequest:
    """A pull request that changes nothing yet."""
    return PullRequest(tmp_path, results)


def new_record(measured: Callable[..., Measured]) -> Measured:
    return measured((359,), contributor="someone", series="new", model="mgnet_2_2_c64_bl")


def test_a_pull_request_with_a_sound_record_passes_and_is_summed_up(
    pull_request: PullRequest, measured: Callable[..., Measured], place: Callable[..., Path], tmp_path: Path
) -> None:
    place(pull_request.results, new_record(measured))
    done = pull_request.check()
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "summary").read_text(encoding="utf-8").startswith("new: measured/mgnet_2_2_c64_bl-digits-")


def test_a_pull_request_that_also_changes_code_fails(
    pull_request: PullRequest, measured: Callable[..., Measured], place: Callable[..., Path]
) -> None:
    place(pull_request.results, new_record(measured))
    (pull_request.origin / "setup.py").write_text("print('run me')", encoding="utf-8")
    done = pull_request.check()
    assert done.returncode == 2
    assert "setup.py" in done.stderr


def test_a_pull_request_with_an_edited_record_fails(
    pull_request: PullRequest, measured: Callable[..., Measured], place: Callable[..., Path]
) -> None:
    path = place(pull_request.results, new_record(measured))
    path.write_text(path.read_text(encoding="utf-8").replace('"correct_last": 359', '"correct_last": 360'), encoding="utf-8")
    done = pull_request.check()
    assert done.returncode == 2
    assert "error" in done.stderr


def test_a_pull_request_with_a_link_instead_of_a_record_fails(pull_request: PullRequest) -> None:
    (pull_request.results / "measured" / "a.json").symlink_to("/etc/hostname")
    done = pull_request.check()
    assert done.returncode == 2
    assert "is a link" in done.stderr


def test_a_number_that_is_none_is_rejected(pull_request: PullRequest) -> None:
    (pull_request.origin / "note").write_text("", encoding="utf-8")
    assert "digits only" in pull_request.check("7;id").stderr
