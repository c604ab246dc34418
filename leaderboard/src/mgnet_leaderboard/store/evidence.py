"""The three kinds of evidence side by side, and what they may not say against each other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from mgnet_leaderboard.records.claims import Comparisons, DiscrepancyRegister
from mgnet_leaderboard.records.measured import Measured
from mgnet_leaderboard.records.union import Record, Verified, path_of
from mgnet_records.audit import Audit
from mgnet_records.demo import DualityDemo
from mgnet_records.errors import InputError

Kind = TypeVar("Kind", Audit, DiscrepancyRegister, Comparisons, DualityDemo)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """The three kinds of evidence side by side, never in one list; and what is said about the first kind."""

    claims: Audit | None
    verified: tuple[Verified, ...]
    measured: tuple[Measured, ...]
    discrepancies: DiscrepancyRegister | None
    comparisons: Comparisons | None
    demo: DualityDemo | None
    local: frozenset[str]


def gathered(committed: Iterable[Record], local: Iterable[Record] = ()) -> Evidence:
    """The records as evidence; InputError where two of them contradict each other. A committed record hides a local twin.

    Two committed runs never have one checkpoint: one training counts once. Local runs may, since a training that is
    repeated on one machine ends in equal bits.
    """
    committed = tuple(committed)
    placed = {path_of(record): record for record in local}
    own = {record.id for record in placed.values() if isinstance(record, Verified | Measured)}
    for record in committed:
        placed[path_of(record)] = record
        own -= {getattr(record, "id", "")}
    records = [placed[place] for place in sorted(placed)]
    evidence = Evidence(
        claims=_only(records, Audit),
        verified=tuple(record for record in records if isinstance(record, Verified)),
        measured=tuple(record for record in records if isinstance(record, Measured)),
        discrepancies=_only(records, DiscrepancyRegister),
        comparisons=_only(records, Comparisons),
        demo=_only(records, DualityDemo),
        local=frozenset(own),
    )
    _reject_contradictions(evidence)
    if fault := _fault_of_repeated_checkpoints(record for record in committed if isinstance(record, Measured)):
        raise InputError(fault)
    return evidence


def _only(records: Iterable[Record], kind: type[Kind]) -> Kind | None:
    """The one record of this kind; its place in the folder is fixed, so there is at most one."""
    return next((record for record in records if isinstance(record, kind)), None)


def _reject_contradictions(evidence: Evidence) -> None:
    fault = _fault_of_run_ids(evidence.measured) or _fault_of_checkpoints(evidence) or _fault_of_row_ids(evidence)
    if fault:
        raise InputError(fault)


def _fault_of_run_ids(measured: Iterable[Measured]) -> str | None:
    """One training may be counted once only."""
    seen: dict[str, str] = {}
    for record in measured:
        for run in record.runs:
            if run.run_id in seen:
                return f"{path_of(record)}: run {run.run_id} is already counted in {seen[run.run_id]}"
            seen[run.run_id] = path_of(record)
    return None


def _fault_of_repeated_checkpoints(committed: Iterable[Measured]) -> str | None:
    """Another run id, seed or contributor does not make a second training of one checkpoint."""
    seen: dict[str, tuple[str, str]] = {}
    for record in committed:
        for run in record.runs:
            place, run_id = seen.setdefault(run.checkpoint_sha256, (path_of(record), run.run_id))
            if run_id != run.run_id:
                return (
                    f"{path_of(record)}: seed {run.seed} has the checkpoint of run {run_id}, which is counted in {place}; "
                    "one training counts once"
                )
    return None


def _fault_of_checkpoints(evidence: Evidence) -> str | None:
    """A certificate of a checkpoint and the run that made it must speak of one model with one number of parameters."""
    trained = {run.checkpoint_sha256: record for record in evidence.measured for run in record.runs}
    for certificate in evidence.verified:
        report = certificate.report
        record = trained.get(report.target.checkpoint_sha256 or "")
        if record is None:
            continue
        if record.model != report.target.model:
            return f"{path_of(certificate)}: certifies a checkpoint of {record.model} as {report.target.model}"
        if report.parameters is not None and report.parameters.torch != record.parameters:
            counts = f"{report.parameters.torch} parameters, {path_of(record)} says {record.parameters}"
            return f"{path_of(certificate)}: counts {counts} for one checkpoint"
    return None


def _fault_of_row_ids(evidence: Evidence) -> str | None:
    """What is said of table rows must name rows that the paper has, and compare within one data set."""
    rows = {row.id: row for row in evidence.claims.rows} if evidence.claims else {}
    for entry in evidence.discrepancies.entries if evidence.discrepancies else ():
        for row in entry.rows:
            if row not in rows:
                return f"claims/discrepancies.json: {entry.id} names {row}, which claims/paper.json does not have"
    for family in evidence.comparisons.families if evidence.comparisons else ():
        for pair in family.pairs:
            for row in (pair.better, pair.worse):
                if row not in rows:
                    return f"claims/comparisons.json: {family.id} names {row}, which claims/paper.json does not have"
            if rows[pair.better].dataset != rows[pair.worse].dataset:
                return f"claims/comparisons.json: {family.id} compares {pair.better} with another data set"
    return None
