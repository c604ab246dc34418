"""The board: one row for each model on each data set, its three kinds of evidence in three separate fields."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from mgnet_leaderboard.board.reported import PaperRow, Reported, reported
from mgnet_leaderboard.datasets import DATA_SETS, plain_key, shown
from mgnet_leaderboard.printed_count import ratio
from mgnet_leaderboard.record import content_id
from mgnet_leaderboard.records.measured import Measured
from mgnet_leaderboard.records.verified import Counted, Macs, Verified, counted
from mgnet_leaderboard.store.evidence import Evidence
from mgnet_leaderboard.variant import variant_of


@dataclass(frozen=True, kw_only=True)
class PrintedCount:
    """A printed parameter count beside the exact one, and how they agree."""

    printed: str
    counted: Counted


# Model, what was changed of it, data set.
Identity = tuple[str, str, str]


@dataclass(frozen=True)
class BoardRow:
    """A model on a data set; a model with changed arguments is another row than the one of that name."""

    model: str
    variant: str
    dataset: str
    reported: tuple[Reported, ...]
    counts: tuple[PrintedCount, ...]
    exact: int | None
    certificates: tuple[Verified, ...]
    measured: tuple[Measured, ...]

    @property
    def key(self) -> str:
        """The anchor of the row."""
        variant = f"--{content_id(self.variant)}" if self.variant else ""
        return f"{self.model}--{self.dataset}{variant}"

    @property
    def name(self) -> str:
        """The name as the paper prints it, else the notation of a run, else the model's own; with what a run changed."""
        if self.reported:
            return self.reported[0].model_printed
        notation = next((record.notation for record in self.measured if record.notation), self.model)
        return f"{self.model} ({self.variant})" if self.variant else notation

    @property
    def dataset_shown(self) -> str:
        """The data set's name for a reader."""
        return shown(self.dataset)

    @property
    def own(self) -> tuple[Reported, ...]:
        """What the authors report of their own runs."""
        return tuple(claim for claim in self.reported if not claim.quoted)

    @property
    def quoted(self) -> tuple[Reported, ...]:
        """What the paper copies from other papers."""
        return tuple(claim for claim in self.reported if claim.quoted)

    @cached_property
    def status(self) -> str | None:
        """`fail` if any certificate of the model failed, else `pass`; None without a certificate."""
        if not self.certificates:
            return None
        return "fail" if any(certificate.report.status == "fail" for certificate in self.certificates) else "pass"

    @cached_property
    def macs(self) -> Macs | None:
        """Multiply-adds of exactly this network on this data set's images, from a certificate with its exact count."""
        counts = {self.exact} | {record.parameters for record in self.measured}
        data = DATA_SETS.get(self.dataset)
        for certificate in self.certificates:
            report = certificate.report
            if report.macs is None or report.parameters is None or report.parameters.torch not in counts:
                continue
            if data is None or tuple(report.macs.image) == data.image:
                return report.macs
        return None

    @property
    def another_network(self) -> bool:
        """Whether a printed count is so far from the exact one that the accuracy may be of another network."""
        return any(abs(ratio(count.printed, count.counted.exact) - 1) > 0.1 for count in self.counts)

    @property
    def best_reported(self) -> float | None:
        """The highest printed accuracy, own runs first."""
        printed = [float(claim.accuracy_printed) for claim in self.own or self.reported]
        return max(printed, default=None)

    @property
    def headline(self) -> Measured | None:
        """The measured record shown on the board: the one with most seeds, then by id; never the best one."""
        return min(self.measured, key=lambda record: (-record.summary.seeds, record.id), default=None)


def board(evidence: Evidence) -> tuple[BoardRow, ...]:
    """All rows by data set; in each the measured ones first, then by printed accuracy."""
    printed: dict[Identity, list[PaperRow]] = defaultdict(list)
    for row in evidence.claims.rows if evidence.claims else ():
        printed[row.model, "", plain_key(row.dataset)].append(row)
    measured: dict[Identity, list[Measured]] = defaultdict(list)
    for record in evidence.measured:
        measured[record.model, variant_of(record), record.dataset.name].append(record)
    certificates: dict[str, list[Verified]] = defaultdict(list)
    for certificate in evidence.verified:
        certificates[certificate.report.target.model].append(certificate)
    rows = [
        _row(identity, printed.get(identity, ()), certificates.get(identity[0], ()), measured.get(identity, ()))
        for identity in printed.keys() | measured.keys()
    ]
    return tuple(sorted(rows, key=_order))


def _row(
    identity: Identity, printed: Iterable[PaperRow], certificates: Iterable[Verified], measured: Iterable[Measured]
) -> BoardRow:
    model, variant, dataset = identity
    printed, measured = tuple(printed), tuple(measured)
    own_certificates = _own_certificates(certificates, variant, measured)
    exact = next((row.exact for row in printed if row.exact is not None), None)
    return BoardRow(
        model=model,
        variant=variant,
        dataset=dataset,
        reported=tuple(reported(row) for row in printed),
        counts=_printed_counts(printed),
        exact=exact or _certified_count(own_certificates, measured),
        certificates=own_certificates,
        measured=measured,
    )


def _own_certificates(certificates: Iterable[Verified], variant: str, measured: Iterable[Measured]) -> tuple[Verified, ...]:
    """Certificates of this row's checkpoints, and for a network as registered those of its name."""
    trained = {run.checkpoint_sha256 for record in measured for run in record.runs}
    return tuple(
        certificate
        for certificate in certificates
        if certificate.report.target.checkpoint_sha256 in trained
        or (not variant and certificate.report.target.checkpoint_sha256 is None)
    )


def _printed_counts(printed: Iterable[PaperRow]) -> tuple[PrintedCount, ...]:
    counts: dict[tuple[str, int], PrintedCount] = {}
    for row in printed:
        computed = counted(row)
        if row.params_printed is not None and computed is not None:
            count = PrintedCount(printed=row.params_printed, counted=computed)
            counts.setdefault((count.printed, computed.exact), count)
    return tuple(counts.values())


def _certified_count(certificates: Iterable[Verified], measured: Iterable[Measured]) -> int | None:
    """The count in a certificate of a checkpoint that one of the runs made."""
    trained = {run.checkpoint_sha256 for record in measured for run in record.runs}
    for certificate in certificates:
        report = certificate.report
        if report.parameters is not None and report.target.checkpoint_sha256 in trained:
            return report.parameters.torch
    return None


def _order(row: BoardRow) -> tuple[int, bool, float, str, str]:
    place = list(DATA_SETS).index(row.dataset) if row.dataset in DATA_SETS else len(DATA_SETS)
    return (place, not row.measured, -(row.best_reported or 0.0), row.model, row.key)
