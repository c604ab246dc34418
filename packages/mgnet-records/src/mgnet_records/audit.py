"""The count audit as a document: every table row of the paper beside the exact parameter count of its network."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, TypeAdapter

from mgnet_records.fields import Line, Part, Positive, Prose, Slug
from mgnet_records.table_rows import TableRow, Verdict, agrees, judge

PrintedPercent = Annotated[str, StringConstraints(pattern=r"^\d{1,3}(?:\.\d{1,2})?$")]
PrintedCount = Annotated[str, StringConstraints(pattern=r"^\d{1,6}(?:\.\d{1,6})?M$")]
RowId = Annotated[str, StringConstraints(pattern=r"^v[12]/table\d{1,2}/[A-Za-z0-9_-]+/[a-z0-9]+(?:/rep\d)?$", max_length=128)]


class AuditedRow(Part):
    """A `TableRow`, the exact counts of its network by closed form, the verdict on the printed one, and why they differ.

    `macs` are multiply-adds of one image of the data set as the network runs, `macs_feature_form` those of a MgNet's other form.
    A count is None where no closed form is known, and in documents that were written before it was in them; the verdict where no
    count is printed.
    """

    id: RowId
    version: Literal["v1", "v2"]
    table: Positive
    row: Positive
    dataset: Line
    model_printed: Line
    model: Slug
    quoted: bool
    cites: Line | None
    accuracy_printed: PrintedPercent
    params_printed: PrintedCount | None
    exact: Positive | None
    verdict: Verdict | None
    explanation: Prose | None
    macs: Positive | None = None
    macs_feature_form: Positive | None = None

    @property
    def unexplained(self) -> bool:
        """Whether the printed count fits the exact one neither rounded nor truncated, without an explanation."""
        return self.verdict is not None and not agrees(self.verdict) and self.explanation is None


class Audit(Part):
    """Every table row of both versions of the paper, in printed order."""

    schema_version: Literal[1] = 1
    kind: Literal["audit"] = "audit"
    rows: Annotated[tuple[AuditedRow, ...], Field(min_length=1, max_length=1000)]


AUDIT: TypeAdapter[Audit] = TypeAdapter(Audit)


def audited(
    row: TableRow, *, exact: int | None, explanation: str | None, macs: int | None = None, macs_feature_form: int | None = None
) -> AuditedRow:
    """The row with the verdict on its printed count. Raises pydantic.ValidationError for a row of another shape."""
    verdict = None if exact is None or row.params_printed is None else judge(row.params_printed, exact)
    return AuditedRow(
        **asdict(row), exact=exact, macs=macs, macs_feature_form=macs_feature_form, verdict=verdict, explanation=explanation
    )


def fault_of(audit: Audit) -> str | None:
    """What contradicts itself in an audit; None when nothing does."""
    seen: set[str] = set()
    for row in audit.rows:
        if row.id in seen:
            return f"table row {row.id} stands twice"
        seen.add(row.id)
        verdict = None if row.exact is None or row.params_printed is None else judge(row.params_printed, row.exact)
        if row.verdict != verdict:
            return f"table row {row.id}: the verdict is {row.verdict!r}, but {row.params_printed} and {row.exact} give {verdict!r}"
    return None
