"""All kinds of record file as one discriminated union, and its JSON Schema."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, TypeAdapter

from mgnet_leaderboard.board.reported import PaperClaims
from mgnet_leaderboard.discrepancy import DiscrepancyRegister
from mgnet_leaderboard.duality_demo import DualityDemo
from mgnet_leaderboard.records.claims import Comparisons
from mgnet_leaderboard.records.measured import Measured
from mgnet_leaderboard.records.verified import Verified
from mgnet_leaderboard.strict_json import canonical

Record = Annotated[PaperClaims | Verified | Measured | DiscrepancyRegister | Comparisons | DualityDemo, Field(discriminator="kind")]
RECORD: TypeAdapter[Record] = TypeAdapter(Record)


def schema_text() -> str:
    """The JSON Schema of a record file, as committed beside the records."""
    return canonical({"$schema": "https://json-schema.org/draft/2020-12/schema", **RECORD.json_schema()})


def path_of(record: Record) -> str:
    """Where the record lies inside a results folder; one file a record, named by what it is."""
    match record:
        case Measured():
            return f"measured/{record.model}-{record.dataset.name}-{record.id}.json"
        case Verified():
            return f"verified/{record.report.target.model}-{record.id}.json"
        case PaperClaims():
            return "claims/paper.json"
        case DiscrepancyRegister():
            return "claims/discrepancies.json"
        case Comparisons():
            return "claims/comparisons.json"
        case DualityDemo():
            return "demo/duality.json"


def text_of(record: Record) -> str:
    """The text of the record file."""
    return canonical(record.model_dump(mode="json"))
