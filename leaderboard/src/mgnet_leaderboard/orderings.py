"""Which of the paper's orderings reappear among the models of a study, and which lie inside its noise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from mgnet_leaderboard.board.reported import PaperClaims
from mgnet_leaderboard.records.architecture import grids_of
from mgnet_leaderboard.records.claims import Comparisons
from mgnet_leaderboard.statistics.intervals import welch_p
from mgnet_leaderboard.statistics.study import Study, StudyRow
from mgnet_leaderboard.statistics.tests import LEVEL, holm

Verdict = Literal["reappears", "the other way", "inside the noise", "too few seeds"]


@dataclass(frozen=True, kw_only=True)
class Ordering:
    """A question of the paper put to two models of a study; `difference` is in points, expected to be positive."""

    question: str
    better: StudyRow
    worse: StudyRow
    difference: float
    adjusted_p: float | None

    @property
    def verdict(self) -> Verdict:
        """What the seeds say, with Holm's correction over all orderings of the study."""
        if self.adjusted_p is None:
            return "too few seeds"
        if self.adjusted_p >= LEVEL:
            return "inside the noise"
        return "reappears" if self.difference > 0 else "the other way"


def orderings(study: Study, claims: PaperClaims, comparisons: Comparisons) -> tuple[Ordering, ...]:
    """Every question of the paper that two models of the study can answer, each pair once."""
    asked = list(dict.fromkeys(_asked(study.rows, claims, comparisons)))
    p_values = [welch_p(study.rows[b].accuracies, study.rows[w].accuracies) for _, b, w in asked]
    adjusted = iter(holm([p for p in p_values if p is not None]))
    return tuple(
        _ordering(question, study.rows[b], study.rows[w], None if p is None else next(adjusted))
        for (question, b, w), p in zip(asked, p_values)
    )


def _ordering(question: str, better: StudyRow, worse: StudyRow, adjusted_p: float | None) -> Ordering:
    difference = better.record.summary.accuracy_last_mean - worse.record.summary.accuracy_last_mean
    return Ordering(question=question, better=better, worse=worse, difference=difference, adjusted_p=adjusted_p)


def _asked(rows: Sequence[StudyRow], claims: PaperClaims, comparisons: Comparisons) -> Iterator[tuple[str, int, int]]:
    """Question and places of the two rows: by the printed models' names, and for MgNets of other sizes by their grids."""
    models = {row.id: row.model for row in claims.rows}
    names = [row.record.model for row in rows]
    # A model that stands twice in a study, as with two recipes, cannot stand for the printed one.
    places = {name: i for i, name in enumerate(names) if names.count(name) == 1}
    for family in comparisons.families:
        for pair in family.pairs:
            better, worse = models[pair.better], models[pair.worse]
            if better in places and worse in places and better != worse:
                yield family.question, places[better], places[worse]
    questions = {family.id: family.question for family in comparisons.families}
    for better, b in places.items():
        for worse, w in places.items():
            question = questions.get(_question_of_grids(better, worse) or "")
            if question is not None:
                yield question, b, w


def _question_of_grids(better: str, worse: str) -> str | None:
    """The family of comparisons that two MgNets answer which differ in one respect only; None for any other two."""
    fine, coarse = grids_of(better), grids_of(worse)
    if not fine or len(fine) != len(coarse) or better.endswith("_224") != worse.endswith("_224"):
        return None
    if [(g.channels_u, g.channels_f) for g in fine] != [(g.channels_u, g.channels_f) for g in coarse]:
        return None
    iterations = [(g.iterations, h.iterations) for g, h in zip(fine, coarse)]
    shared = ["_bli" not in name for name in (better, worse)]
    if all(a == b for a, b in iterations):
        return "own-b-mgnet" if shared == [False, True] else None
    if shared[0] == shared[1] and iterations[0][0] > iterations[0][1] and all(a == b for a, b in iterations[1:]):
        return "iterations-first"
    return None
