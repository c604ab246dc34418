"""What is said about the table rows of the paper: the questions its comparisons raise, and the register of discrepancies."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mgnet_records.audit import RowId
from mgnet_records.fields import Line, Part, Slug

Subject = Literal["equation", "reference", "quotation", "comparison", "between versions", "text and code"]


class RowPair(Part):
    """Two table rows of one data set; the question is whether `better` really is."""

    better: RowId
    worse: RowId


class Question(Part):
    """One question, `better_is` in words, and the pairs of rows that bear on it."""

    id: Slug
    question: Line
    better_is: Line
    pairs: Annotated[tuple[RowPair, ...], Field(min_length=1)]


class Comparisons(Part):
    """All questions, fixed before anything was measured."""

    schema_version: Literal[1]
    kind: Literal["comparisons"]
    families: tuple[Question, ...]


class Discrepancy(Part):
    """One contradiction: where it is printed, what is printed, what speaks against it, and on what ground."""

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
