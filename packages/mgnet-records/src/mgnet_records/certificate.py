"""What a verification found, as `mgnet-verify certify --json` writes it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from mgnet_records.audit import PrintedCount, RowId
from mgnet_records.canonical import content_id
from mgnet_records.errors import InputError
from mgnet_records.fields import Commit, Line, Part, Positive, Prose, Seed, Sha256, Slug
from mgnet_records.strict_json import read_document
from mgnet_records.table_rows import Verdict

# Bytes. A certificate of two executions has 15 kB; each further one may repeat all properties.
CERTIFICATE_LIMIT = 256 * 1024

Status = Literal["pass", "fail", "not_decided", "not_applicable"]


class Target(Part):
    """What was verified: a registered name, a notation or module:factory, and the checkpoint of trained weights if any."""

    model: Line
    checkpoint_sha256: Sha256 | None


class Property(Part):
    """One checked statement, whether it held, and how hard it was tried.

    `detail` is the first failure or a remark. `largest_gap` is the largest difference that was seen where rounding is
    allowed; `bits_used` are those of the largest sum out of the 53 of a float64, below which arithmetic is exact.
    """

    name: Line
    status: Status
    statement: Annotated[Prose, Field(min_length=1)]
    detail: Prose = ""
    examples: Annotated[int, Field(ge=1, le=10**9)] | None = None
    seed: Seed | None = None
    largest_gap: Annotated[float, Field(ge=0)] | None = None
    bits_used: Annotated[float, Field(ge=0, lt=53)] | None = None


class ParameterCounts(Part):
    """The same number found three ways."""

    closed_form: Positive | None
    torch: Positive
    fvcore: Positive


class FormMacs(Part):
    """Multiply-adds of one form of the iteration, by arithmetic and by tracing."""

    closed_form: Positive | None
    fvcore: Positive


class Macs(Part):
    """Multiply-adds for one image (channels, height, width) under a named convention; None for a form that was not counted."""

    image: tuple[Positive, Positive, Positive]
    convention: Line
    residual_form: FormMacs | None
    feature_form: FormMacs | None


class PaperComparison(Part):
    """A printed count of this network against the exact one."""

    row: RowId
    printed: PrintedCount | None
    exact: Positive | None
    verdict: Verdict | None
    explanation: Prose | None


class Certificate(Part):
    """A verification report: a property-based test of one network, no proof.

    `status` is "fail" where a property fails, else "not_decided" where one could not be decided, as for a network that no
    specification is of.

    `executions` names the ways of computing the network that were examined, such as "feature_form", "recompute_full" and "folded",
    or "forward" for a network with one way; `kernel_backend` is the build of mgnet-kernels that ran, None where none did.
    """

    schema_version: Literal[2] = 2
    kind: Literal["verification"] = "verification"
    target: Target
    notation: Line | None
    commit: Commit | None
    dirty: bool | None
    versions: Annotated[dict[Line, Line | None], Field(max_length=100)]
    kernel_backend: Line | None
    executions: Annotated[tuple[Slug, ...], Field(min_length=1, max_length=64)]
    status: Literal["pass", "fail", "not_decided"]
    properties: Annotated[tuple[Property, ...], Field(min_length=1, max_length=1000)]
    parameters: ParameterCounts | None
    macs: Macs | None
    paper: Annotated[tuple[PaperComparison, ...], Field(max_length=1000)]


CERTIFICATE: TypeAdapter[Certificate] = TypeAdapter(Certificate)

# What names a certificate. The outcome is no part of it, so that a second run of one commit is the same record.
_IDENTITY = {"target", "commit", "dirty", "versions", "kernel_backend", "executions"}


def certificate_id(certificate: Certificate) -> str:
    """The 12 hexadecimal digits that target, commit, versions and executions give."""
    return content_id(certificate.model_dump(mode="json", include=_IDENTITY))


def certificate_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a certificate."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **CERTIFICATE.json_schema()}


def read_certificate(path: Path) -> Certificate:
    """The certificate in a file. Raises InputError if it cannot be read or contradicts itself."""
    certificate = read_document(path, CERTIFICATE, limit=CERTIFICATE_LIMIT)
    if fault := fault_of(certificate):
        raise InputError(f"{path}: {fault}")
    return certificate


def fault_of(certificate: Certificate) -> str | None:
    """What contradicts itself in a certificate; None when nothing does."""
    failed, open_ones = (
        [checked.name for checked in certificate.properties if checked.status == status] for status in ("fail", "not_decided")
    )
    if (certificate.status == "fail") != bool(failed):
        return f"status says {certificate.status!r} but the failed properties are {failed}"
    if not failed and (certificate.status == "not_decided") != bool(open_ones):
        return f"status says {certificate.status!r} but the properties that are not decided are {open_ones}"
    if len(set(certificate.executions)) != len(certificate.executions):
        return f"an execution stands twice in {list(certificate.executions)}"
    if (certificate.commit is None) != (certificate.dirty is None):
        return f"commit is {certificate.commit} but dirty is {certificate.dirty}; both are known or both are null"
    return _fault_of_passing(certificate) if certificate.status == "pass" else None


def _fault_of_passing(certificate: Certificate) -> str | None:
    if not any(checked.status == "pass" for checked in certificate.properties):
        return "status says 'pass' but no property passed"
    macs = certificate.macs
    counted = {
        "parameter counts": certificate.parameters,
        "multiply-adds of the residual form": macs and macs.residual_form,
        "multiply-adds of the feature form": macs and macs.feature_form,
    }
    for what, counts in counted.items():
        values = {count for count in counts.model_dump().values() if count is not None} if counts else set()
        if len(values) > 1:
            return f"status says 'pass' but the {what} differ: {sorted(values)}"
    return None
