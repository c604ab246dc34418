"""The command itself: quick to start, and every refusal one line with the mend."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Json = dict[str, Any]


COMMANDS = ("", "ingest", "submit", "check", "build", "study", "schema")


@pytest.mark.parametrize("command", COMMANDS, ids=[name or "no_command" for name in COMMANDS])
def test_help_imports_nothing_heavy(command: str) -> None:
    heavy = "('torch', 'mlflow', 'scipy', 'numpy', 'jinja2', 'pydantic')"
    code = f"""
import sys
from mgnet_leaderboard.cli import main
try:
    main({[*command.split(), "--help"]!r})
except SystemExit as stop:
    assert stop.code == 0
print([name for name in {heavy} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_missing_results_folder_is_named(tmp_path: Path, rejected: Callable[..., str]) -> None:
    assert "no such folder of results; give one with --results" in rejected("check", "--results", tmp_path / "nowhere")
    assert "no such folder of results" in rejected("build", "--results", tmp_path / "nowhere", "--out", tmp_path / "site")
    assert not (tmp_path / "site").exists()


@pytest.mark.parametrize(
    "change, reason",
    [
        ({"status": "fail"}, "status says 'fail' but the failed properties are"),
        ({"properties": []}, "properties"),
        ({"parameters": {"closed_form": 1, "torch": 2, "fvcore": 2}}, "the parameter counts differ"),
        ({"surprise": 1}, "surprise: Extra inputs are not permitted"),
        ({"schema_version": 9}, "schema_version: Input should be 2, got 9"),
        ({"kind": "rumour"}, "does not match any of the expected tags"),
    ],
    ids=["status", "no_properties", "counts", "unknown_field", "schema", "kind"],
)
def test_a_report_that_contradicts_itself_is_not_ingested(
    tmp_path: Path, report: Json, write: Callable[..., Path], rejected: Callable[..., str], change: Json, reason: str
) -> None:
    good, bad = write("good.json", {**report, "commit": "f" * 40}), write("bad.json", {**report, **change})
    assert reason in rejected("ingest", good, bad, "--records", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_two_different_reports_of_one_target_are_rejected(
    tmp_path: Path, report: Json, write: Callable[..., Path], rejected: Callable[..., str]
) -> None:
    other = {**report, "notation": "MgNet[2,2]-[32]-B^l"}
    line = rejected("ingest", write("a.json", report), write("b.json", other), "--records", tmp_path / "out")
    assert "is a second, different report" in line


def test_a_file_that_is_missing_or_not_text_is_named(tmp_path: Path, rejected: Callable[..., str]) -> None:
    assert "No such file" in rejected("ingest", tmp_path / "absent.json", "--records", tmp_path / "out")
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe")
    assert "is not UTF-8 text" in rejected("ingest", tmp_path / "binary.json", "--records", tmp_path / "out")


def test_a_demo_that_shows_no_difference_is_rejected(
    tmp_path: Path, demo: Json, write: Callable[..., Path], rejected: Callable[..., str]
) -> None:
    same = {**demo, "control": {**demo["control"], "grids": demo["grids"]}}
    line = rejected("ingest", write("demo.json", same), "--records", tmp_path / "out")
    assert "the demo shows no difference" in line


def test_a_certificate_of_a_checkpoint_must_agree_with_the_run_that_made_it(
    results: Path, report: Json, write: Callable[..., Path], rejected: Callable[..., str], measured: Callable[..., Any]
) -> None:
    checkpoint = measured().runs[0].checkpoint_sha256
    other_model = {**report, "target": {"model": "mgnet_2_2_2_2_c256_bl", "checkpoint_sha256": checkpoint}}
    line = rejected("ingest", write("r.json", other_model), "--records", results)
    assert "certifies a checkpoint of mgnet_2_2_c32_bl as mgnet_2_2_2_2_c256_bl" in line
    other_count = {**report, "target": {"model": "mgnet_2_2_c32_bl", "checkpoint_sha256": checkpoint}}
    line = rejected("ingest", write("r.json", other_count), "--records", results)
    assert "counts 8301924 parameters" in line


def test_an_unwritable_records_folder_is_rejected(
    tmp_path: Path, report: Json, write: Callable[..., Path], rejected: Callable[..., str]
) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    line = rejected("ingest", write("r.json", report), "--records", tmp_path / "file" / "records")
    assert "cannot be written" in line


def test_a_second_ingest_writes_nothing(
    tmp_path: Path, report: Json, write: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    from mgnet_leaderboard.cli import main

    path = str(write("r.json", report))
    main(["ingest", path, "--records", str(tmp_path / "out")])
    capsys.readouterr()
    assert main(["ingest", path, "--records", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out == "0 written, 1 unchanged\n"
