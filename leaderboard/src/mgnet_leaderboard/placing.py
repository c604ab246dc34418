"""Records written into a results folder: all are checked together before the first file is touched."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mgnet_leaderboard.refusal import RefusedError
from mgnet_leaderboard.store.evidence import gathered
from mgnet_leaderboard.store.folder import fault_of, read_results
from mgnet_leaderboard.store.folder_swap import write_whole
from mgnet_leaderboard.store.schema import Record, path_of, text_of


@dataclass(frozen=True, kw_only=True)
class Written:
    """What a writing command did: files written, files that already said so, and runs left out with the reason."""

    written: tuple[Path, ...]
    unchanged: tuple[Path, ...]
    skipped: tuple[str, ...] = ()


def place(records: Iterable[Record], into: Path, *, skipped: Sequence[str] = ()) -> Written:
    """Write the records where they belong; RefusedError, and no file written, if one contradicts itself or another."""
    records = list(records)
    for record in records:
        if fault := fault_of(record):
            raise RefusedError(f"{path_of(record)}: {fault}")
    standing = {path_of(record): record for record in read_results(into, committed=False)} if into.is_dir() else {}
    gathered({**standing, **{path_of(record): record for record in records}}.values())
    written: list[Path] = []
    unchanged: list[Path] = []
    for record in records:
        path = into / path_of(record)
        (written if write_whole(path, text_of(record)) else unchanged).append(path)
    return Written(written=tuple(written), unchanged=tuple(unchanged), skipped=tuple(skipped))
