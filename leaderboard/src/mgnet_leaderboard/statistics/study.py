"""A study on one data set: measured records of one recipe side by side, with intervals and all pairs tested."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from mgnet_leaderboard.accuracy import percent
from mgnet_leaderboard.records.measured import Measured
from mgnet_leaderboard.statistics.intervals import half_width, welch_p
from mgnet_leaderboard.statistics.tests import LEVEL, holm, resolved_difference
from mgnet_leaderboard.strict_json import short
from mgnet_leaderboard.variant import variant_of

# Above this many models all pairs are too many to test and to read.
PAIRED_MODELS = 64


@dataclass(frozen=True, kw_only=True)
class StudyRow:
    """A measured record with its accuracies, one a seed, in percent; `label` says what sets it apart in the study."""

    record: Measured
    label: str
    variant: str
    accuracies: tuple[float, ...]
    half: float | None


@dataclass(frozen=True, kw_only=True)
class ResolvedPair:
    """Two models whose seeds differ beyond chance."""

    better: StudyRow
    worse: StudyRow
    difference: float
    adjusted_p: float


@dataclass(frozen=True, kw_only=True)
class Study:
    """All records of one recipe name, epoch count and commit on one data set; `label` of a row names what differs."""

    recipe: str
    epochs: int
    commit: str | None
    rows: tuple[StudyRow, ...]
    tested: int
    resolved: tuple[ResolvedPair, ...]
    resolution: float


def studies(records: Sequence[Measured]) -> tuple[Study, ...]:
    """The records grouped by what must be equal for a fair comparison; largest study first."""
    groups: dict[tuple[str, int, str, bool, str], list[Measured]] = defaultdict(list)
    for record in records:
        key = (record.recipe.name, record.epochs, record.commit or "", record.dirty, record.dataset.sha256)
        groups[key].append(record)
    return tuple(sorted((_study(group) for group in groups.values()), key=lambda s: (-len(s.rows), s.recipe, s.commit or "")))


def _study(records: Sequence[Measured]) -> Study:
    rows = []
    labels = _labels(records)
    for record, label in zip(records, labels):
        accuracies = tuple(percent(run.correct_last, record.dataset.n) for run in record.runs)
        rows.append(
            StudyRow(record=record, label=label, variant=variant_of(record), accuracies=accuracies, half=half_width(accuracies))
        )
    rows.sort(key=lambda row: (-row.record.summary.accuracy_last_mean, row.label, row.record.id))
    tested, resolved = _resolved_pairs(rows)
    first = records[0]
    return Study(
        recipe=first.recipe.name,
        epochs=first.epochs,
        commit=first.commit,
        rows=tuple(rows),
        tested=tested,
        resolved=resolved,
        resolution=resolved_difference(rows[len(rows) // 2].record.summary.accuracy_last_mean, first.dataset.n),
    )


def _labels(records: Sequence[Measured]) -> list[str]:
    """The model's name, and what sets the record apart from others of that name: its arguments, its recipe's choices."""
    return [_label(record, [other for other in records if other.model == record.model]) for record in records]


def _label(record: Measured, twins: Sequence[Measured]) -> str:
    variant = variant_of(record) if len({variant_of(twin) for twin in twins}) > 1 else ""
    names = sorted({name for twin in twins for name in twin.recipe.values})
    differing = [name for name in names if len({short(twin.recipe.values.get(name)) for twin in twins}) > 1]
    choices = [f"{name} {short(record.recipe.values.get(name))}" for name in differing]
    return " · ".join(part for part in (record.model, variant, *choices) if part)


def _resolved_pairs(rows: Sequence[StudyRow]) -> tuple[int, tuple[ResolvedPair, ...]]:
    """How many pairs could be tested, and those that Welch's test with Holm's correction tells apart."""
    tested = []
    for better, worse in combinations(rows, 2) if len(rows) <= PAIRED_MODELS else ():
        p = welch_p(better.accuracies, worse.accuracies)
        if p is not None:
            tested.append((better, worse, p))
    adjusted = holm([p for _, _, p in tested])
    resolved = [
        ResolvedPair(
            better=better,
            worse=worse,
            difference=better.record.summary.accuracy_last_mean - worse.record.summary.accuracy_last_mean,
            adjusted_p=p,
        )
        for (better, worse, _), p in zip(tested, adjusted)
        if p < LEVEL
    ]
    return len(tested), tuple(resolved)
