"""The paper's own comparisons: pairs of printed rows from which it, or its reader, draws a conclusion."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mgnet_leaderboard.board.reported import RowId
from mgnet_leaderboard.record import Line, Part, Slug


class Pair(Part):
    """Two printed rows of one data set; the question is whether `better` really is."""

    better: RowId
    worse: RowId


class Family(Part):
    """Pairs that answer one question."""

    id: Slug
    question: Line
    better_is: Line
    pairs: Annotated[tuple[Pair, ...], Field(min_length=1)]


class Comparisons(Part):
    """All families of comparisons, fixed before anything was measured."""

    schema_version: Literal[1]
    kind: Literal["comparisons"]
    families: tuple[Family, ...]
