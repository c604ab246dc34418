"""The contract between the packages: a real training and a real certificate reach the board's row as they are."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from mgnet_leaderboard.cli import main
from mgnet_records.run_result import RESULT_FILE, read_run_result

RESULTS = Path(__file__).parents[2] / "leaderboard" / "results"
NETWORK = "mgnet_2_2_c32_bl"


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of one epoch on the digits, with the certificate of its checkpoint in the folder above."""
    from mgnet_train import Options, fit, make_spec
    from mgnet_verify.cli import main as verify

    runs = tmp_path_factory.mktemp("contract") / "runs"
    spec = make_spec(NETWORK, dataset="digits", overrides={"epochs": "1", "milestones": "1"})
    folder = fit(spec, Options(runs=runs, track="later", quiet=True)).folder
    assert verify(["certify", str(folder / "model.safetensors"), "--json", str(runs / "certificate.json")]) == 0
    return folder


def test_the_board_shows_the_accuracy_of_the_result_and_the_verdict_of_the_certificate(run_folder: Path, tmp_path: Path) -> None:
    runs, records, site = run_folder.parent, tmp_path / "records", tmp_path / "site"
    assert main(["ingest", str(runs), str(runs / "certificate.json"), "--records", str(records)]) == 0
    (tmp_path / "none").mkdir()
    assert main(["build", "--results", str(tmp_path / "none"), "--records", str(records), "--out", str(site)]) == 0
    result = read_run_result(run_folder / RESULT_FILE)
    certificate = json.loads((runs / "certificate.json").read_text(encoding="utf-8"))
    assert certificate["target"]["checkpoint_sha256"] == result.checkpoint_sha256
    board = (site / "index.html").read_text(encoding="utf-8")
    (row,) = re.findall(rf'<tr id="{NETWORK}--digits">.*?</tr>', board, re.DOTALL)
    cells = [" ".join(re.sub(r"<[^>]+>", " ", cell).split()) for cell in re.findall(r"<td.*?</td>", row, re.DOTALL)]
    data, reported, printed, exact, verdict, macs, measured = cells
    assert (data, reported, printed) == ("digits", "not reported", "not printed")
    assert exact == f"V {result.parameters:,}"
    assert verdict == f"V {'✓ pass' if certificate['status'] == 'pass' else '✗ fail'} checkpoint local"
    assert macs.startswith("V ")
    assert measured == f"M {result.accuracy_last:.2f} 1 seed, n = {result.dataset.n}, top-5 {result.accuracy_top5:.2f} local"


def test_the_page_of_the_model_names_the_run_its_execution_and_its_certificate(run_folder: Path, tmp_path: Path) -> None:
    runs, records, site = run_folder.parent, tmp_path / "records", tmp_path / "site"
    assert main(["ingest", str(run_folder), str(runs / "certificate.json"), "--records", str(records)]) == 0
    (tmp_path / "none").mkdir()
    assert main(["build", "--results", str(tmp_path / "none"), "--records", str(records), "--out", str(site)]) == 0
    result = read_run_result(run_folder / RESULT_FILE)
    page = (site / "model" / f"{result.model}.html").read_text(encoding="utf-8")
    assert f'<td class="code">{result.run_id[:8]}</td>' in page
    assert f"{result.execution.form} form, {result.execution.precision}" in page
    assert f"Certificate of checkpoint {result.checkpoint_sha256[:12]}" in page
