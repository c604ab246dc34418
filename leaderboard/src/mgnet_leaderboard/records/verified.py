"""Verified evidence: counts and properties checked by computation; no training and no data set is involved."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mgnet_leaderboard.board.reported import PaperRow, PrintedCount, RowId
from mgnet_leaderboard.printed_count import Verdict
from mgnet_leaderboard.record import Commit, Count, Line, Part, Positive, Prose, RecordId, Sha256, Slug, content_id

Status = Literal["pass", "fail", "not_applicable"]


class Target(Part):
    """What was verified: a registered model, or a trained checkpoint of it."""

    model: Slug
    checkpoint_sha256: Sha256 | None


class Property(Part):
    """One checked statement and how hard it was tried."""

    name: Line
    status: Status
    statement: Prose
    detail: Prose
    examples: Count | None
    seed: Count | None
    largest_gap: float | None
    bits_used: float | None


class ParameterCounts(Part):
    """The same number found three ways."""

    closed_form: Positive | None
    torch: Positive
    fvcore: Positive


class FormMacs(Part):
    """Multiply-adds of one form of the iteration, found two ways."""

    closed_form: Positive | None
    fvcore: Positive


class Macs(Part):
    """Multiply-adds for one image (channels, height, width) under a named convention."""

    image: tuple[Positive, Positive, Positive]
    convention: Line
    residual: FormMacs | None
    literal: FormMacs | None


class PaperComparison(Part):
    """A printed count of this network against the exact one."""

    row: RowId
    printed: PrintedCount | None
    exact: Positive | None
    verdict: Verdict | None
    explanation: Prose | None


class VerificationReport(Part):
    """What the certify command writes; an input, not yet a record."""

    schema_version: Literal[1]
    kind: Literal["verification"]
    target: Target
    notation: Line | None
    commit: Commit | None
    dirty: bool | None
    versions: dict[Line, Line | None]
    status: Literal["pass", "fail"]
    properties: Annotated[tuple[Property, ...], Field(min_length=1)]
    parameters: ParameterCounts | None
    macs: Macs | None
    paper: tuple[PaperComparison, ...]


class Verified(Part):
    """A verification report as a record: the report and the id that its target, commit and versions give it."""

    schema_version: Literal[1]
    kind: Literal["verified"]
    id: RecordId
    report: VerificationReport


class Counted(Part):
    """A parameter count computed from the architecture, for one printed row."""

    row: RowId
    exact: Positive
    verdict: Verdict
    explanation: str | None


def verified_id(report: VerificationReport) -> str:
    """The id of the record; the outcome is no part of it, so that a second run of one commit is the same record."""
    return content_id(report.model_dump(mode="json", include={"target", "commit", "dirty", "versions"}))


def fault_of_report(report: VerificationReport) -> str | None:
    """What contradicts itself in a report; None when nothing does."""
    failed = [checked.name for checked in report.properties if checked.status == "fail"]
    if (report.status == "fail") != bool(failed):
        return f"status says {report.status!r} but the failed properties are {failed}"
    if report.status == "pass" and not any(checked.status == "pass" for checked in report.properties):
        return "status says 'pass' but no property passed"
    if report.status == "pass" and report.parameters is not None:
        counts = {count for count in report.parameters.model_dump().values() if count is not None}
        if len(counts) > 1:
            return f"status says 'pass' but the parameter counts differ: {sorted(counts)}"
    return None


def counted(row: PaperRow) -> Counted | None:
    """The computed half of a printed row; None where no count was computed."""
    if row.exact is None or row.verdict is None:
        return None
    return Counted(row=row.id, exact=row.exact, verdict=row.verdict, explanation=row.explanation)
