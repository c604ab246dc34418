"""The register of discrepancies: printed statements that contradict another one, the counts, or a cited source."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mgnet_leaderboard.board.reported import RowId
from mgnet_leaderboard.record import Line, Part, Slug

Subject = Literal["equation", "reference", "quotation", "comparison", "between versions", "text and code"]


class Discrepancy(Part):
    """One contradiction: where it stands, what is printed, what speaks against it, and on what ground."""

    id: Slug
    subject: Subject
    versions: Annotated[tuple[Literal["v1", "v2"], ...], Field(min_length=1)]
    place: Line
    printed: Line
    finding: Annotated[str, Field(min_length=1, max_length=600)]
    ground: Line
    rows: tuple[RowId, ...] = ()


class DiscrepancyRegister(Part):
    """All contradictions in words; discrepant counts are not listed here, they follow from the audit."""

    schema_version: Literal[1]
    kind: Literal["discrepancies"]
    entries: tuple[Discrepancy, ...]
