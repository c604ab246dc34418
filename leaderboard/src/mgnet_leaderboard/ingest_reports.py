"""From reports to records: verification reports become verified records, an audit becomes the paper's claims."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter

from mgnet_leaderboard.board.reported import PaperClaims
from mgnet_leaderboard.duality_demo import DualityDemo
from mgnet_leaderboard.placing import Written, place
from mgnet_leaderboard.records.verified import VerificationReport, Verified, verified_id
from mgnet_leaderboard.refusal import RefusedError
from mgnet_leaderboard.store.schema import Record, path_of
from mgnet_leaderboard.strict_json import CLAIMS_LIMIT, read_record

Report = Annotated[VerificationReport | PaperClaims | DualityDemo, Field(discriminator="kind")]
REPORT: TypeAdapter[Report] = TypeAdapter(Report)


def ingest(files: Sequence[Path], into: Path) -> Written:
    """Write the reports as records; all files are read before one record is written."""
    records: dict[str, Record] = {}
    for path in files:
        record = as_record(read_record(path, REPORT, limit=CLAIMS_LIMIT))
        twin = records.setdefault(path_of(record), record)
        if twin != record:
            raise RefusedError(f"{path}: is a second, different report for {path_of(record)}; give one of them")
    return place(records.values(), into)


def as_record(report: Report) -> Record:
    """The record a report makes."""
    if isinstance(report, VerificationReport):
        return Verified(schema_version=1, kind="verified", id=verified_id(report), report=report)
    return report
