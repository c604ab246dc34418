"""`make certificates`: which certificates are those of today's code, in which order the others are made."""

import importlib.util
import json
import subprocess
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def certificates() -> ModuleType:
    spec = importlib.util.spec_from_file_location("certificates", ROOT / "ci" / "certificates.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def repository(tmp_path: Path, certificates: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit of code and one of the page."""
    monkeypatch.setattr(certificates, "ROOT", tmp_path)
    for index, name in enumerate(("packages/mgnet-models/src/a.py", "leaderboard/page.html")):
        file = tmp_path / name
        file.parent.mkdir(parents=True)
        file.write_text(str(index), encoding="utf-8")
        if index == 0:
            git(tmp_path, "init", "-q")
        git(tmp_path, "add", "-A")
        git(tmp_path, "-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "-qm", name)
    return tmp_path


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def test_a_certificate_is_current_while_the_code_that_it_is_about_is_the_same(certificates: ModuleType, repository: Path) -> None:
    first, last = git(repository, "rev-list", "HEAD").split()[::-1]
    for commit in (first, last):
        assert certificates.is_current({"commit": commit, "dirty": False})
    (repository / "packages" / "mgnet-models" / "src" / "a.py").write_text("other", encoding="utf-8")
    for commit in (first, last):
        assert not certificates.is_current({"commit": commit, "dirty": False})


@pytest.mark.parametrize("commit, dirty", [(None, None), ("0" * 40, False), ("HEAD", True)], ids=["unknown", "lost", "dirty"])
def test_of_code_that_nobody_knows_no_certificate_is_current(
    certificates: ModuleType, repository: Path, commit: str | None, dirty: bool | None
) -> None:
    assert not certificates.is_current({"commit": commit, "dirty": dirty})


def test_the_cheapest_come_first_and_an_unknown_name_is_rejected(
    certificates: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = [{"name": name, "macs": macs} for name, macs in (("b", 7), ("a", 7), ("c", 1))]

    def run(command: list[str], **_: Any) -> Any:
        return SimpleNamespace(stdout=json.dumps(entries) if "mgnet_models" in command else "", returncode=0)

    monkeypatch.setattr(certificates.subprocess, "run", run)
    assert certificates.by_cost([]) == ["c", "a", "b"]
    assert certificates.by_cost(["b", "c"]) == ["c", "b"]
    assert certificates.main(["d"]) == 2
    assert capsys.readouterr().err == "certificates: no network is named 'd': see `python -m mgnet_models`\n"


def test_nothing_is_begun_after_the_deadline(certificates: ModuleType, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificates, "REPORTS", repository / "build")
    assert certificates.certified("rescsc20", deadline=0.0) is None
