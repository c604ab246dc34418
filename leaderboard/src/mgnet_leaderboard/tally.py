"""The first minute of a visit in numbers: what is claimed, what is verified, what was measured, what disagrees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mgnet_leaderboard.board.rows import BoardRow
from mgnet_leaderboard.printed_count import agrees
from mgnet_leaderboard.store.evidence import Evidence


@dataclass(frozen=True, kw_only=True)
class Tally:
    """Counts of evidence over the whole board."""

    claims: int
    quoted: int
    counts: int
    counts_agree: int
    counts_close: int
    counts_discrepant: int
    certified: int
    failed: int
    runs: int
    measured_pairs: int
    pairs: int
    statements: int

    @property
    def disagreements(self) -> int:
        """Printed counts that fit no reading, and statements in the register."""
        return self.counts_discrepant + self.statements


def tally(evidence: Evidence, rows: Sequence[BoardRow]) -> Tally:
    """Count the evidence."""
    printed = evidence.claims.rows if evidence.claims else ()
    verdicts = [row.verdict for row in printed if row.verdict]
    statuses = {row.model: row.status for row in rows if row.status}
    for certificate in evidence.verified:
        statuses.setdefault(certificate.report.target.model, certificate.report.status)
    return Tally(
        claims=len(printed),
        quoted=sum(row.quoted for row in printed),
        counts=len(verdicts),
        counts_agree=sum(agrees(verdict) for verdict in verdicts),
        counts_close=verdicts.count("within 1%"),
        counts_discrepant=verdicts.count("discrepant"),
        certified=list(statuses.values()).count("pass"),
        failed=list(statuses.values()).count("fail"),
        runs=sum(len(record.runs) for record in evidence.measured),
        measured_pairs=sum(bool(row.measured) for row in rows),
        pairs=len(rows),
        statements=len(evidence.discrepancies.entries) if evidence.discrepancies else 0,
    )
