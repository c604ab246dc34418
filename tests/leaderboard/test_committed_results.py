"""What is committed under leaderboard/results is sound, and the page built from it says what the paper prints."""

from __future__ import annotations

from pathlib import Path

import pytest

from mgnet_leaderboard.cli import main
from mgnet_leaderboard.statistics.comparisons import compared
from mgnet_leaderboard.store.evidence import Evidence, gathered
from mgnet_leaderboard.store.folder import read_results

RESULTS = Path(__file__).parents[2] / "leaderboard" / "results"


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    """The committed evidence."""
    return gathered(read_results(RESULTS, committed=True))


def test_the_committed_records_and_their_schema_are_sound() -> None:
    assert main(["check", "--results", str(RESULTS)]) == 0


def test_every_printed_row_of_both_versions_is_there(evidence: Evidence) -> None:
    assert evidence.claims is not None
    tables = [(row.version, row.table) for row in evidence.claims.rows]
    assert len(tables) == 173
    assert {table: tables.count(("v1", table)) for table in range(1, 5)} == {1: 16, 2: 4, 3: 16, 4: 16}
    assert [tables.count(("v2", table)) for table in range(1, 12)] == [16, 4, 32, 18, 8, 2, 11, 12, 4, 6, 8]
    assert sum(row.quoted for row in evidence.claims.rows) == 15


def test_all_twenty_pairs_with_shared_a_point_its_way_and_none_is_significant(evidence: Evidence) -> None:
    assert evidence.claims is not None
    assert evidence.comparisons is not None
    families = {asked.question.id: asked for asked in compared(evidence.claims, evidence.comparisons)}
    shared = families["shared-a"]
    assert (len(shared.pairs), shared.for_it, shared.count("significant")) == (20, 20, 0)
    assert max(abs(pair.sampled.z) for pair in shared.pairs) == pytest.approx(1.3, abs=0.05)
    own = {pair.better.id: pair.sampled.z for pair in families["own-b-mgnet"].pairs}
    assert own["v2/table11/mgnet_2-2-2-2_c64-128-256-512_Bi/imagenet"] == pytest.approx(3.7, abs=0.1)


def test_the_site_of_the_committed_records_stays_within_its_weight(tmp_path: Path) -> None:
    import gzip

    out = tmp_path / "site"
    assert main(["build", "--results", str(RESULTS), "--records", str(tmp_path / "none"), "--out", str(out)]) == 0
    first_view = ("index.html", "style.css", "app.js", "board.js")
    assert sum(len(gzip.compress((out / name).read_bytes())) for name in first_view) < 100_000
