"""The paper's own comparisons against the sampling error of its test sets, and its numbers against our runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mgnet_leaderboard.records.claims import Comparisons, Question
from mgnet_leaderboard.records.measured import Measured
from mgnet_leaderboard.statistics.intervals import prediction_interval
from mgnet_leaderboard.statistics.tests import (
    NOT_SIGNIFICANT,
    REVERSED,
    SIGNIFICANCE,
    SIGNIFICANT,
    SampledDifference,
    SignificanceVerdict,
    difference_on_test_set,
    holm,
)
from mgnet_records.audit import Audit, AuditedRow
from mgnet_records.datasets import DATA_SETS, normalized_key


@dataclass(frozen=True, kw_only=True)
class ComparedPair:
    """Two table rows, their difference, and its p-value after Holm's correction over all pairs of the page."""

    better: AuditedRow
    worse: AuditedRow
    sampled: SampledDifference
    adjusted_p: float

    @property
    def verdict(self) -> SignificanceVerdict:
        """What the two printed numbers alone allow to say."""
        if self.adjusted_p >= SIGNIFICANCE:
            return NOT_SIGNIFICANT
        return SIGNIFICANT if self.sampled.difference > 0 else REVERSED


@dataclass(frozen=True, kw_only=True)
class ComparedQuestion:
    """One question of the paper with all pairs that bear on it."""

    question: Question
    pairs: tuple[ComparedPair, ...]

    @property
    def for_it(self) -> int:
        """Pairs whose printed numbers point the way the question expects, significant or not."""
        return sum(pair.sampled.difference > 0 for pair in self.pairs)

    def count(self, verdict: SignificanceVerdict) -> int:
        """Pairs with this verdict."""
        return sum(pair.verdict == verdict for pair in self.pairs)


def compared(claims: Audit, comparisons: Comparisons) -> tuple[ComparedQuestion, ...]:
    """Test every pair; Holm's correction runs over all pairs together, since all are on one page."""
    rows = {row.id: row for row in claims.rows}
    flat = [(rows[pair.better], rows[pair.worse]) for question in comparisons.families for pair in question.pairs]
    sampled = [_sampled(better, worse) for better, worse in flat]
    adjusted = holm([difference.p for difference in sampled])
    pairs = iter(
        ComparedPair(better=better, worse=worse, sampled=difference, adjusted_p=p)
        for (better, worse), difference, p in zip(flat, sampled, adjusted)
    )
    return tuple(
        ComparedQuestion(question=question, pairs=tuple(next(pairs) for _ in question.pairs)) for question in comparisons.families
    )


def _sampled(better: AuditedRow, worse: AuditedRow) -> SampledDifference:
    n = DATA_SETS[normalized_key(better.dataset)].test_images
    return difference_on_test_set(float(better.accuracy_printed), float(worse.accuracy_printed), n)


@dataclass(frozen=True, kw_only=True)
class AgainstPrinted:
    """A table row and the range, in percent, where one more run of ours falls with 95 %."""

    claim: AuditedRow
    low: float
    high: float

    @property
    def inside(self) -> bool:
        """Whether the printed accuracy could be one more run of ours."""
        return self.low <= float(self.claim.accuracy_printed) <= self.high


def against_printed(record: Measured, claims: Iterable[AuditedRow]) -> tuple[AgainstPrinted, ...]:
    """The paper prints a single number, so it is compared with single runs, not with the mean; empty for one seed."""
    interval = prediction_interval(list(record.accuracies.values()))
    if interval is None:
        return ()
    return tuple(AgainstPrinted(claim=claim, low=interval[0], high=interval[1]) for claim in claims)
