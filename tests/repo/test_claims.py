"""The table rows that the leaderboard commits are those that mgnet-verify judges: one source, one derived file."""

import shutil
from pathlib import Path

from mgnet_leaderboard.cli import main
from mgnet_records.files import write_json
from mgnet_verify import audit

RESULTS = Path(__file__).parents[2] / "leaderboard" / "results"


def test_the_committed_claims_are_what_the_audit_writes_today(tmp_path: Path) -> None:
    records = tmp_path / "results"
    shutil.copytree(RESULTS, records)
    (records / "claims" / "paper.json").unlink()
    write_json(tmp_path / "audit.json", audit().model_dump(mode="json"))
    assert main(["ingest", str(tmp_path / "audit.json"), "--records", str(records)]) == 0
    assert (records / "claims" / "paper.json").read_bytes() == (RESULTS / "claims" / "paper.json").read_bytes()
