"""The paper's comparisons with a verdict each: what its test sets can resolve, with many looks accounted for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mgnet_leaderboard.board.reported import PaperClaims, PaperRow
from mgnet_leaderboard.datasets import DATA_SETS, plain_key
from mgnet_leaderboard.records.claims import Comparisons, Family
from mgnet_leaderboard.statistics.tests import LEVEL, Judgement, holm, judge

Verdict = Literal["resolved", "resolved, the other way", "within the noise of the test set"]


@dataclass(frozen=True, kw_only=True)
class JudgedPair:
    """Two printed rows, their difference, and whether it survives Holm's correction over all pairs of the page."""

    better: PaperRow
    worse: PaperRow
    judgement: Judgement
    adjusted_p: float

    @property
    def verdict(self) -> Verdict:
        """What the two printed numbers alone allow to say."""
        if self.adjusted_p >= LEVEL:
            return "within the noise of the test set"
        return "resolved" if self.judgement.difference > 0 else "resolved, the other way"


@dataclass(frozen=True, kw_only=True)
class JudgedFamily:
    """One question of the paper with all pairs that bear on it."""

    family: Family
    pairs: tuple[JudgedPair, ...]

    @property
    def for_it(self) -> int:
        """Pairs whose printed numbers point the way the family says, resolved or not."""
        return sum(pair.judgement.difference > 0 for pair in self.pairs)

    def count(self, verdict: Verdict) -> int:
        """Pairs with this verdict."""
        return sum(pair.verdict == verdict for pair in self.pairs)


def judged(claims: PaperClaims, comparisons: Comparisons) -> tuple[JudgedFamily, ...]:
    """Judge every pair; Holm's correction runs over all pairs together, since all stand on one page."""
    rows = {row.id: row for row in claims.rows}
    flat = [(rows[pair.better], rows[pair.worse]) for family in comparisons.families for pair in family.pairs]
    judgements = [_judge(better, worse) for better, worse in flat]
    adjusted = holm([judgement.p for judgement in judgements])
    pairs = iter(
        JudgedPair(better=better, worse=worse, judgement=judgement, adjusted_p=p)
        for (better, worse), judgement, p in zip(flat, judgements, adjusted)
    )
    return tuple(JudgedFamily(family=family, pairs=tuple(next(pairs) for _ in family.pairs)) for family in comparisons.families)


def _judge(better: PaperRow, worse: PaperRow) -> Judgement:
    n = DATA_SETS[plain_key(better.dataset)].test_images
    return judge(float(better.accuracy_printed), float(worse.accuracy_printed), n)
