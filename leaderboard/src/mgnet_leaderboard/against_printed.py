"""A printed accuracy held against our own runs of the same network on the same data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mgnet_leaderboard.accuracy import percent
from mgnet_leaderboard.board.reported import Reported
from mgnet_leaderboard.records.measured import Measured
from mgnet_leaderboard.statistics.intervals import prediction_interval


@dataclass(frozen=True, kw_only=True)
class AgainstPrinted:
    """A claim and the range, in percent, where one more run of ours falls with 95 %."""

    claim: Reported
    low: float
    high: float

    @property
    def inside(self) -> bool:
        """Whether the printed accuracy could be one more run of ours."""
        return self.low <= float(self.claim.accuracy_printed) <= self.high


def against_printed(record: Measured, claims: Iterable[Reported]) -> tuple[AgainstPrinted, ...]:
    """The paper prints a single number, so it is held against single runs, not against the mean; empty for one seed."""
    interval = prediction_interval([percent(run.correct_last, record.dataset.n) for run in record.runs])
    if interval is None:
        return ()
    return tuple(AgainstPrinted(claim=claim, low=interval[0], high=interval[1]) for claim in claims)
