"""What a study asks: the orderings of the paper that its networks can answer, and factors that are pooled over pairs."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

from mgnet_leaderboard.records.architecture import grids_of
from mgnet_leaderboard.records.claims import Comparisons, RowPair
from mgnet_records.audit import Audit

# More MgNets that differ in nu_1 alone are not compared pair by pair.
PAIRED_MODELS = 64


@dataclass(frozen=True, kw_only=True)
class Ordering:
    """A statement that the network `better` has the higher accuracy; `gap` is the printed difference in points, if any."""

    question: str
    better: str
    worse: str
    gap: float | None


@dataclass(frozen=True, kw_only=True)
class Factor:
    """One property of a network, changed with all else equal: `pattern` matches a network without it, `with_it` names its twin.

    `question` is the id of the paper's question, None for one that was asked after the runs were seen.
    """

    name: str
    pattern: re.Pattern[str]
    with_it: str
    question: str | None

    def twin(self, model: str) -> str | None:
        """The network that differs in this property alone; None for a network that has it already, or cannot have it."""
        return self.pattern.sub(self.with_it, model) if self.pattern.match(model) else None


# No network is in two pairs of one factor, so the pairs of a factor share no run.
FACTORS = (
    Factor(
        name="one A for a whole grid, ResNet and pre-act ResNet",
        pattern=re.compile(r"^(mg(?:preact)?resnet\d+)_ali_(bli?)$"),
        with_it=r"\1_al_\2",
        question="shared-a",
    ),
    Factor(
        name="an own B for each iteration, ResNet and pre-act ResNet",
        pattern=re.compile(r"^(mg(?:preact)?resnet\d+_ali?)_bl$"),
        with_it=r"\1_bli",
        question="shared-b",
    ),
    Factor(
        name="an own B for each iteration, MgNet",
        pattern=re.compile(r"^(mgnet_.+)_bl((?:_224)?)$"),
        with_it=r"\1_bli\2",
        question="own-b-mgnet",
    ),
    Factor(
        name="pre-act ResNet against ResNet",
        pattern=re.compile(r"^mgresnet(\d+_ali?_bli?)$"),
        with_it=r"mgpreactresnet\1",
        question=None,
    ),
)


def factor_pairs(factor: Factor, models: Collection[str]) -> list[tuple[str, str]]:
    """The pairs (with the property, without it) among the models, sorted."""
    return sorted((twin, model) for model in models if (twin := factor.twin(model)) in models and twin is not None)


def orderings(models: Collection[str], claims: Audit, comparisons: Comparisons) -> tuple[Ordering, ...]:
    """Every ordering of the paper that two of the models can answer, each once, in the order of the questions.

    A question is answered by networks of the names that it compares, and those on iterations and on B also by MgNets of
    other sizes that differ in this one respect; their gap is the largest one printed for the question.
    """
    printed, gaps = _printed(claims), printed_gaps(claims, comparisons)
    of_models = {row.id: row.model for row in claims.rows}
    found: dict[tuple[str, str, str], float | None] = {}
    for question in comparisons.families:
        for pair in question.pairs:
            better, worse = of_models[pair.better], of_models[pair.worse]
            if better in models and worse in models and better != worse:
                key = (question.question, better, worse)
                found[key] = max(found.get(key) or 0.0, _points(printed, pair))
    questions = {question.id: question for question in comparisons.families}
    for question_id, better, worse in _by_grids(models):
        if question_id in questions:
            found.setdefault((questions[question_id].question, better, worse), gaps[question_id])
    return tuple(Ordering(question=q, better=b, worse=w, gap=gap) for (q, b, w), gap in found.items())


def printed_gaps(claims: Audit, comparisons: Comparisons) -> dict[str, float]:
    """The largest difference, in points, that the paper prints for each question, by its id."""
    printed = _printed(claims)
    return {question.id: max(_points(printed, pair) for pair in question.pairs) for question in comparisons.families}


def _printed(claims: Audit) -> dict[str, float]:
    return {row.id: float(row.accuracy_printed) for row in claims.rows}


def _points(printed: Mapping[str, float], pair: RowPair) -> float:
    # Two decimals are printed; binary fractions have more.
    return round(abs(printed[pair.better] - printed[pair.worse]), 6)


def _by_grids(models: Collection[str]) -> Iterator[tuple[str, str, str]]:
    """(question, better, worse) for MgNets of any size that differ in the sharing of B or in nu_1 alone."""
    for better, worse in factor_pairs(next(factor for factor in FACTORS if factor.question == "own-b-mgnet"), models):
        yield "own-b-mgnet", better, worse
    series: dict[tuple[object, ...], list[tuple[int, str]]] = defaultdict(list)
    for model in models:
        grids = grids_of(model)
        if grids:
            channels = tuple((grid.channels_u, grid.channels_f) for grid in grids)
            later = tuple(grid.iterations for grid in grids[1:])
            series[channels, later, "_bli" in model, model.endswith("_224")].append((grids[0].iterations, model))
    for same in series.values():
        for (fewer, worse), (more, better) in combinations(sorted(same)[:PAIRED_MODELS], 2):
            if more > fewer:
                yield "iterations-first", better, worse
