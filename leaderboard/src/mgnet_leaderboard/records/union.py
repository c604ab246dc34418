"""All kinds of record file as one discriminated union: where each lies, what contradicts itself in it, its JSON Schema."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from mgnet_leaderboard.records.claims import Comparisons, DiscrepancyRegister
from mgnet_leaderboard.records.known import fault_of_network, fault_of_recipe_name
from mgnet_leaderboard.records.measured import Measured, fault_of_measured
from mgnet_records import audit, certificate, demo
from mgnet_records.audit import Audit
from mgnet_records.canonical import document_text
from mgnet_records.certificate import Certificate, certificate_id
from mgnet_records.demo import DualityDemo
from mgnet_records.fields import ContentId, Part, is_slug


class Verified(Part):
    """A certificate as a record, with the id that its target, commit, versions and executions give it."""

    schema_version: Literal[2]
    kind: Literal["verified"]
    id: ContentId
    report: Certificate


Record = Annotated[Audit | Verified | Measured | DiscrepancyRegister | Comparisons | DualityDemo, Field(discriminator="kind")]
RECORD: TypeAdapter[Record] = TypeAdapter(Record)


def verified(report: Certificate) -> Verified:
    """The record of a certificate."""
    return Verified(schema_version=2, kind="verified", id=certificate_id(report), report=report)


def path_of(record: Record) -> str:
    """Where the record lies inside a results folder; one file a record, named by what it is."""
    match record:
        case Measured():
            return f"measured/{record.model}-{record.dataset.name}-{record.id}.json"
        case Verified():
            return f"verified/{record.report.target.model}-{record.id}.json"
        case Audit():
            return "claims/paper.json"
        case DiscrepancyRegister():
            return "claims/discrepancies.json"
        case Comparisons():
            return "claims/comparisons.json"
        case DualityDemo():
            return "demo/duality.json"


def text_of(record: Record) -> str:
    """The text of the record file."""
    return document_text(record.model_dump(mode="json"))


def schema_text() -> str:
    """The JSON Schema of a record file, as committed beside the records."""
    return document_text({"$schema": "https://json-schema.org/draft/2020-12/schema", **RECORD.json_schema()})


def fault_of(record: Record) -> str | None:
    """What contradicts itself in a record; None when nothing does."""
    match record:
        case Measured():
            return fault_of_measured(record)
        case Verified():
            return _fault_of_verified(record)
        case DualityDemo():
            return demo.fault_of(record)
        case Audit():
            return audit.fault_of(record)
        case _:
            return None


def _fault_of_verified(record: Verified) -> str | None:
    # The model is part of a file name and of addresses on the page; a certificate itself may be of any notation.
    if not is_slug(record.report.target.model):
        return f"target.model is {record.report.target.model!r}; the board shows networks by their registered name"
    if fault := certificate.fault_of(record.report):
        return fault
    expected = certificate_id(record.report)
    return None if record.id == expected else f"the id is {record.id} but the content gives {expected}"


def fault_if_committed(record: Record) -> str | None:
    """Why a sound record may still not be committed: nobody else could repeat it, or its names are not what they name."""
    if isinstance(record, Verified):
        return _fault_of_origin(record.report.commit, record.report.dirty)
    if not isinstance(record, Measured):
        return None
    return (
        _fault_of_origin(record.commit, record.dirty)
        or fault_of_network(record.model, record.notation, record.model_args, record.parameters, record.dataset.name)
        or fault_of_recipe_name(record.recipe.name, record.recipe.sha256)
    )


def _fault_of_origin(commit: str | None, dirty: bool | None) -> str | None:
    if dirty:
        return "comes from a working tree with uncommitted changes (dirty: true); commit them and run again"
    return "names no commit; run again inside the git repository" if commit is None else None
