"""The board: one row for each model on each data set, its three kinds of evidence in three separate fields."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from mgnet_leaderboard.records.measured import Measured, headline_first
from mgnet_leaderboard.records.union import Verified
from mgnet_leaderboard.store.evidence import Evidence
from mgnet_records.audit import AuditedRow
from mgnet_records.canonical import content_id
from mgnet_records.certificate import Macs
from mgnet_records.datasets import DATA_SETS, display_name, normalized_key
from mgnet_records.table_rows import CLOSE, DISCREPANT, Verdict, agrees

# The data set that most tables of the paper are about comes first.
DATASET_ORDER = ("cifar100", "cifar10", "imagenet", "mnist", "svhn", "digits")
# Model, what was changed of it, data set.
Identity = tuple[str, str, str]


@dataclass(frozen=True, kw_only=True)
class CountComparison:
    """A printed parameter count beside the exact one, how they agree, and why not."""

    printed: str
    exact: int
    verdict: Verdict
    explanation: str | None

    @property
    def ratio(self) -> float:
        """Printed over exact."""
        return printed_ratio(self.printed, self.exact)


@dataclass(frozen=True, kw_only=True)
class MultiplyAdds:
    """Of one image, as the network runs and in a MgNet's feature form; counted three ways in a certificate, or by closed form."""

    forward: int
    feature_form: int | None
    is_certified: bool


@dataclass(frozen=True)
class BoardRow:
    """A model on a data set; a model with changed arguments has a row of its own. The first of `measured` is the headline."""

    model: str
    variant: str
    dataset: str
    reported: tuple[AuditedRow, ...]
    counts: tuple[CountComparison, ...]
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
        return display_name(self.dataset)

    @property
    def dataset_known(self) -> bool:
        """Whether the data set is one whose images and classes are known here."""
        return self.dataset in DATA_SETS

    @property
    def own(self) -> tuple[AuditedRow, ...]:
        """What the authors report of their own runs."""
        return tuple(claim for claim in self.reported if not claim.quoted)

    @property
    def quoted(self) -> tuple[AuditedRow, ...]:
        """What the paper copies from other papers."""
        return tuple(claim for claim in self.reported if claim.quoted)

    @cached_property
    def status(self) -> str | None:
        """The worst status of the model's certificates: `fail`, else `not_decided`, else `pass`; None without a certificate."""
        found = {certificate.report.status for certificate in self.certificates}
        return next((status for status in ("fail", "not_decided", "pass") if status in found), None)

    @cached_property
    def macs(self) -> MultiplyAdds | None:
        """Of exactly this network on this data set's images: from a certificate with its exact count, else from the audit."""
        if (certified := self._certified_macs()) is not None and certified.residual_form is not None:
            other = certified.feature_form
            return MultiplyAdds(
                forward=certified.residual_form.fvcore, feature_form=other.fvcore if other else None, is_certified=True
            )
        for claim in self.reported:
            if claim.macs is not None:
                return MultiplyAdds(forward=claim.macs, feature_form=claim.macs_feature_form, is_certified=False)
        return None

    def _certified_macs(self) -> Macs | None:
        counts = {self.exact} | {record.parameters for record in self.measured}
        data = DATA_SETS.get(self.dataset)
        for certificate in self.certificates:
            report = certificate.report
            if report.macs is None or report.parameters is None or report.parameters.torch not in counts:
                continue
            if data is None or tuple(report.macs.image) == data.input_size:
                return report.macs
        return None

    @property
    def another_network(self) -> bool:
        """Whether a printed count is so far from the exact one that the accuracy may be of another network."""
        return any(abs(count.ratio - 1) > 0.1 for count in self.counts)

    @property
    def best_reported(self) -> float | None:
        """The highest printed accuracy, own runs first."""
        printed = [float(claim.accuracy_printed) for claim in self.own or self.reported]
        return max(printed, default=None)

    @property
    def headline(self) -> Measured | None:
        """The measured record shown on the board; see `headline_first` for the rule."""
        return self.measured[0] if self.measured else None


def board(evidence: Evidence) -> tuple[BoardRow, ...]:
    """All rows by data set; in each the measured ones first, then by printed accuracy."""
    printed: dict[Identity, list[AuditedRow]] = defaultdict(list)
    for row in evidence.claims.rows if evidence.claims else ():
        printed[row.model, "", normalized_key(row.dataset)].append(row)
    measured: dict[Identity, list[Measured]] = defaultdict(list)
    for record in evidence.measured:
        measured[record.model, record.variant, record.dataset.name].append(record)
    certificates: dict[str, list[Verified]] = defaultdict(list)
    for certificate in evidence.verified:
        certificates[certificate.report.target.model].append(certificate)
    rows = [
        _row(identity, printed.get(identity, ()), certificates.get(identity[0], ()), measured.get(identity, ()))
        for identity in printed.keys() | measured.keys()
    ]
    return tuple(sorted(rows, key=_order))


def _row(
    identity: Identity, printed: Sequence[AuditedRow], certificates: Iterable[Verified], measured: Iterable[Measured]
) -> BoardRow:
    model, variant, dataset = identity
    measured = headline_first(measured)
    trained = {run.checkpoint_sha256 for record in measured for run in record.runs}
    # Certificates of this row's checkpoints, and for a network as registered those of its name.
    own = tuple(
        certificate
        for certificate in certificates
        if certificate.report.target.checkpoint_sha256 in trained
        or (not variant and certificate.report.target.checkpoint_sha256 is None)
    )
    exact = next((row.exact for row in printed if row.exact is not None), None)
    return BoardRow(
        model=model,
        variant=variant,
        dataset=dataset,
        reported=tuple(printed),
        counts=_count_comparisons(printed),
        exact=exact or _certified_count(own, trained),
        certificates=own,
        measured=measured,
    )


def _count_comparisons(printed: Iterable[AuditedRow]) -> tuple[CountComparison, ...]:
    counts: dict[tuple[str, int], CountComparison] = {}
    for row in printed:
        if row.params_printed is not None and row.exact is not None and row.verdict is not None:
            count = CountComparison(printed=row.params_printed, exact=row.exact, verdict=row.verdict, explanation=row.explanation)
            counts.setdefault((count.printed, count.exact), count)
    return tuple(counts.values())


def _certified_count(certificates: Iterable[Verified], trained: set[str]) -> int | None:
    """The count in a certificate of a checkpoint that one of the runs made."""
    for certificate in certificates:
        report = certificate.report
        if report.parameters is not None and report.target.checkpoint_sha256 in trained:
            return report.parameters.torch
    return None


def _order(row: BoardRow) -> tuple[int, bool, float, str, str]:
    place = DATASET_ORDER.index(row.dataset) if row.dataset in DATASET_ORDER else len(DATASET_ORDER)
    return (place, not row.measured, -(row.best_reported or 0.0), row.model, row.key)


def printed_ratio(printed: str, exact: int) -> float:
    """A count as printed, such as 8.3M, over the exact one."""
    return float(printed.removesuffix("M")) * 1_000_000 / exact


@dataclass(frozen=True, kw_only=True)
class Tally:
    """Counts of evidence over the whole board; `repeated` are rows with a reported and a measured accuracy."""

    claims: int
    quoted: int
    counts: int
    counts_agree: int
    counts_close: int
    counts_discrepant: int
    certified: int
    failed: int
    runs: int
    measured_pairs: int
    repeated: int
    pairs: int
    statements: int

    @property
    def disagreements(self) -> int:
        """Printed counts that fit neither rounded nor truncated, and statements in the register."""
        return self.counts_discrepant + self.statements


def tally(evidence: Evidence, rows: Sequence[BoardRow]) -> Tally:
    """Count the evidence."""
    printed = evidence.claims.rows if evidence.claims else ()
    verdicts = [row.verdict for row in printed if row.verdict]
    statuses = {row.model: row.status for row in rows if row.status}
    for certificate in evidence.verified:
        statuses.setdefault(certificate.report.target.model, certificate.report.status)
    return Tally(
        claims=len(printed),
        quoted=sum(row.quoted for row in printed),
        counts=len(verdicts),
        counts_agree=sum(agrees(verdict) for verdict in verdicts),
        counts_close=verdicts.count(CLOSE),
        counts_discrepant=verdicts.count(DISCREPANT),
        certified=list(statuses.values()).count("pass"),
        failed=list(statuses.values()).count("fail"),
        runs=sum(len(record.runs) for record in evidence.measured),
        measured_pairs=sum(bool(row.measured) for row in rows),
        repeated=sum(bool(row.measured) and bool(row.own) for row in rows),
        pairs=len(rows),
        statements=len(evidence.discrepancies.entries) if evidence.discrepancies else 0,
    )
