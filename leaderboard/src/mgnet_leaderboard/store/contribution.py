"""What a contributed results folder may change against the base branch: new records and new seeds, nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from mgnet_leaderboard.records.measured import Measured
from mgnet_leaderboard.records.union import Record, path_of
from mgnet_leaderboard.store.evidence import gathered
from mgnet_leaderboard.store.folder import read_results
from mgnet_records.errors import InputError


def check_contribution(head: Path, base: Path) -> list[str]:
    """One line for each change, for the reviewer; InputError for a change that a contributor cannot make."""
    old = {path_of(record): record for record in read_results(base, committed=True)}
    new = {path_of(record): record for record in read_results(head, committed=True)}
    gathered(new.values())
    for place in sorted(old.keys() - new.keys()):
        raise InputError(f"{place}: is in the base branch and is missing here; records are never removed")
    lines = []
    for place in sorted(new):
        if new[place] != old.get(place):
            lines.append(_changed(place, old.get(place), new[place]))
    _reject_repeated_checkpoints(old.values(), new)
    return lines


def _reject_repeated_checkpoints(old: Iterable[Record], new: Mapping[str, Record]) -> None:
    """One training counts once, also under another run id and another name: its checkpoint gives it away."""
    known = {run.checkpoint_sha256: run.run_id for record in old if isinstance(record, Measured) for run in record.runs}
    counted = set(known.values())
    for place, record in new.items():
        for run in record.runs if isinstance(record, Measured) else ():
            if run.run_id not in counted and known.setdefault(run.checkpoint_sha256, run.run_id) != run.run_id:
                first = known[run.checkpoint_sha256]
                raise InputError(f"{place}: seed {run.seed} has the checkpoint of run {first}; one training counts once")


def _changed(place: str, old: Record | None, new: Record) -> str:
    if not isinstance(new, Measured):
        raise InputError(f"{place}: only measured records are contributed as data; this file comes with the code")
    if new.contributor is None:
        raise InputError(f"{place}: names no contributor; write it with mgnet-leaderboard submit --contributor NAME")
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
