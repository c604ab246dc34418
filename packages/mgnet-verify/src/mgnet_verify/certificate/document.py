"""What a verification found, as a value and as the JSON document of certificate.schema.json."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from mgnet_verify.counts.closed_form.mgnet import CONVENTION
from mgnet_verify.paper.audit import Verdict

Status = Literal["pass", "fail", "not_applicable"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One property: what it states, whether it held, on how many examples; `detail` is the first failure or a remark."""

    name: str
    status: Status
    statement: str
    detail: str = ""
    examples: int | None = None
    seed: int | None = None
    largest_gap: float | None = None
    bits_used: float | None = None


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """The same count three ways."""

    closed_form: int
    torch: int
    fvcore: int


@dataclass(frozen=True, kw_only=True)
class Macs:
    """Multiply-adds of one form on one image, by arithmetic and by tracing."""

    closed_form: int
    fvcore: int


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """A whole verification report. `parameters` and `macs` are None for a network without a notation."""

    model: str
    checkpoint_sha256: str | None
    notation: str | None
    commit: str | None
    dirty: bool | None
    versions: dict[str, str]
    findings: tuple[Finding, ...]
    image: tuple[int, int, int]
    parameters: Parameters | None
    macs: dict[str, Macs] | None
    paper: tuple[Verdict, ...]

    @property
    def passed(self) -> bool:
        """Whether no property failed."""
        return all(finding.status != "fail" for finding in self.findings)

    def document(self) -> dict[str, Any]:
        """The JSON document."""
        return {
            "schema_version": 1,
            "kind": "verification",
            "target": {"model": self.model, "checkpoint_sha256": self.checkpoint_sha256},
            "notation": self.notation,
            "commit": self.commit,
            "dirty": self.dirty,
            "versions": self.versions,
            "status": "pass" if self.passed else "fail",
            "properties": [asdict(finding) for finding in self.findings],
            "parameters": self.parameters and asdict(self.parameters),
            "macs": self.macs and {"image": list(self.image), "convention": CONVENTION} | _counted(self.macs),
            "paper": [paper_entry(verdict) for verdict in self.paper],
        }


def _counted(macs: dict[str, Macs]) -> dict[str, Any]:
    return {form: asdict(count) for form, count in macs.items()}


def paper_entry(verdict: Verdict) -> dict[str, Any]:
    """One printed row in a certificate."""
    return {
        "row": verdict.row.id,
        "printed": verdict.row.params_printed,
        "exact": verdict.exact,
        "verdict": verdict.verdict,
        "explanation": verdict.explanation,
    }
