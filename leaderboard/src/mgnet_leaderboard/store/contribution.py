"""What a contributed results folder may change against the base branch: new records and new seeds, nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from mgnet_leaderboard.records.measured import Measured
from mgnet_leaderboard.records.union import Record, path_of
from mgnet_leaderboard.store.evidence import gathered
from mgnet_leaderboard.store.folder import read_results
from mgnet_records.errors import InputError

# How far a contributor's clock may be ahead of ours.
CLOCKS = timedelta(days=1)


def check_contribution(head: Path, base: Path, *, now: datetime | None = None) -> list[str]:
    """One line for each change, for the reviewer; InputError for a change that a contributor cannot make.

    A new run finished before `now`, which is the clock's time unless it is given.
    """
    latest = (now or datetime.now(UTC)) + CLOCKS
    old = {path_of(record): record for record in read_results(base, committed=True)}
    new = {path_of(record): record for record in read_results(head, committed=True)}
    gathered(new.values())
    for place in sorted(old.keys() - new.keys()):
        raise InputError(f"{place}: is in the base branch and is missing here; records are never removed")
    lines = []
    for place in sorted(new):
        if new[place] != old.get(place):
            lines.append(_changed(place, old.get(place), new[place], latest))
    return lines


def _changed(place: str, old: Record | None, new: Record, latest: datetime) -> str:
    if not isinstance(new, Measured):
        raise InputError(f"{place}: only measured records are contributed as data; this file comes with the code")
    if new.contributor is None:
        raise InputError(f"{place}: names no contributor; write it with mgnet-leaderboard submit --contributor NAME")
    for run in new.runs:
        if datetime.fromisoformat(run.finished) > latest:
            raise InputError(
                f"{place}: seed {run.seed} finished {run.finished}, which is still to come; set the clock and run again"
            )
    mean = f"{new.summary.accuracy_last_mean:.2f} % over {new.summary.seeds} seed(s)"
    if not isinstance(old, Measured):
        return f"new: {place}: {mean}"
    kept = {run.seed: run for run in new.runs}
    for run in old.runs:
        if kept.get(run.seed) != run:
            raise InputError(f"{place}: seed {run.seed} was changed or dropped; the first finished run of a seed stays")
    if old.link != new.link:
        raise InputError(f"{place}: the link was changed; a record is not edited")
    return f"more seeds: {place}: {mean}, was {old.summary.accuracy_last_mean:.2f} % over {old.summary.seeds}"
