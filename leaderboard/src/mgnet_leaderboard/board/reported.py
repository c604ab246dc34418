"""Reported evidence: the numbers a paper prints, kept as the strings it prints."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from mgnet_leaderboard.printed_count import Verdict
from mgnet_leaderboard.record import Line, Part, Positive, Prose, Slug

PrintedPercent = Annotated[str, StringConstraints(pattern=r"^\d{1,3}(?:\.\d{1,2})?$")]
PrintedCount = Annotated[str, StringConstraints(pattern=r"^\d+(?:\.\d+)?M$")]
RowId = Annotated[str, StringConstraints(pattern=r"^v[12]/table\d{1,2}/[A-Za-z0-9_-]+/[a-z0-9]+(?:/rep\d)?$")]


class PaperRow(Part):
    """One printed row as the audit hands it over: what is printed, and beside it the count computed for that network."""

    id: RowId
    version: Literal["v1", "v2"]
    table: Positive
    row: Positive
    dataset: Line
    model_printed: Line
    model: Slug
    quoted: bool
    cites: Line | None = None
    accuracy_printed: PrintedPercent
    params_printed: PrintedCount | None
    exact: Positive | None
    verdict: Verdict | None
    explanation: Prose | None


class PaperClaims(Part):
    """Every printed row of both versions of the paper, in printed order; written by the audit command."""

    schema_version: Literal[1]
    kind: Literal["audit"]
    rows: Annotated[tuple[PaperRow, ...], Field(min_length=1)]


class Reported(Part):
    """A printed number and where it stands; nothing in it was checked by anybody."""

    row: RowId
    version: Literal["v1", "v2"]
    table: Positive
    quoted: bool
    cites: str | None
    model_printed: str
    accuracy_printed: str
    params_printed: str | None


def reported(row: PaperRow) -> Reported:
    """The printed half of a row."""
    return Reported(
        row=row.id,
        version=row.version,
        table=row.table,
        quoted=row.quoted,
        cites=row.cites,
        model_printed=row.model_printed,
        accuracy_printed=row.accuracy_printed,
        params_printed=row.params_printed,
    )
