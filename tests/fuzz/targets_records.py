"""Fuzz targets of mgnet-records and of the records of the board."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from pydantic import JsonValue, TypeAdapter

from fuzz.framework import accepted, target
from fuzz.mutations import damaged, mutated
from mgnet_leaderboard.records.measured import Measured, measured_id, summarize
from mgnet_leaderboard.records.union import RECORD, Verified, path_of, text_of
from mgnet_leaderboard.store.folder import read_placed
from mgnet_leaderboard.store.ingest import INGESTIBLE
from mgnet_records import audit, demo
from mgnet_records.audit import AUDIT
from mgnet_records.canonical import canonical_json
from mgnet_records.certificate import certificate_id, read_certificate
from mgnet_records.demo import DUALITY_DEMO
from mgnet_records.run_result import read_run_result, recipe_sha256
from mgnet_records.strict_json import read_document
from records import documents

RESULTS = Path(__file__).resolve().parents[2] / "leaderboard" / "results"
JSON: TypeAdapter[JsonValue] = TypeAdapter(JsonValue)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@cache
def folder() -> Path:
    """A folder for the input files of this process."""
    path = Path(tempfile.mkdtemp(prefix="mgnet-fuzz-"))
    for name in ("claims", "demo", "measured", "verified"):
        (path / name).mkdir()
    return path


def written(content: bytes, name: str = "input.json") -> Path:
    """The content as a file."""
    path = folder() / name
    path.write_bytes(content)
    return path


def committed(place: str) -> list[Any]:
    """The smallest committed records of a folder, as JSON values."""
    paths = sorted((RESULTS / place).glob("*.json"), key=lambda path: path.stat().st_size)[:6]
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


@target(damaged(mutated([documents.demo(), documents.run_result()]) | JSON_VALUES), quick=40, nightly=10_000)
def strict_json(content: bytes) -> None:
    """What is read can be written, read again, and is the same."""
    value = accepted(lambda: read_document(written(content), JSON))
    again = canonical_json(value).encode("utf-8")
    assert canonical_json(read_document(written(again), JSON, limit=10**6)).encode() == again
    assert json.loads(content) == value


def sealed_run(document: Any) -> Any:
    document["recipe"]["sha256"] = recipe_sha256(document["recipe"]["values"])
    return document


@target(damaged(mutated([documents.run_result()], sealed_run)), quick=40, nightly=10_000)
def run_result(content: bytes) -> None:
    """A result that is read has finite numbers and an accuracy from 0 to 100, and is read again as the same."""
    result = accepted(lambda: read_run_result(written(content)))
    assert 0 <= result.accuracy_last <= result.accuracy_best <= 100
    assert read_run_result(written(canonical_json(result.model_dump(mode="json")).encode("utf-8"))) == result


@target(damaged(mutated([documents.certificate()])), quick=40, nightly=10_000)
def certificate(content: bytes) -> None:
    """A certificate that is read has an id, and is read again as the same."""
    report = accepted(lambda: read_certificate(written(content)))
    assert len(certificate_id(report)) == 12
    assert read_certificate(written(canonical_json(report.model_dump(mode="json")).encode("utf-8"))) == report


@target(damaged(mutated([documents.demo(), *committed("demo")])), quick=20, nightly=10_000)
def duality_demo(content: bytes) -> None:
    """A demo that is read can be judged."""
    shown = accepted(lambda: read_document(written(content), DUALITY_DEMO))
    demo.fault_of(shown)
    canonical_json(shown.model_dump(mode="json")).encode("utf-8")


def _first_rows(document: Any) -> Any:
    return {**document, "rows": document["rows"][:4]}


@target(damaged(mutated([_first_rows(value) for value in committed("claims") if value["kind"] == "audit"])), nightly=10_000)
def paper_audit(content: bytes) -> None:
    """An audit that is read can be judged."""
    claims = accepted(lambda: read_document(written(content), AUDIT))
    audit.fault_of(claims)
    canonical_json(claims.model_dump(mode="json")).encode("utf-8")


def _board_record(place: str, mend: Callable[[Any], Any] | None = None) -> Callable[[bytes], None]:
    def body(content: bytes) -> None:
        """A record in its place is sound: its own text is a record again."""
        try:
            name = path_of(RECORD.validate_json(content))
        except Exception:
            name = f"{place}/record.json"
        record = accepted(lambda: read_placed(written(content, name), folder(), committed=True))
        assert read_placed(written(text_of(record).encode("utf-8"), name), folder(), committed=True) == record
        (folder() / name).unlink()

    body.__name__ = f"{place}_record"
    return target(damaged(mutated(committed(place), mend)), quick=20, nightly=10_000)(body)


def sealed_measured(document: Any) -> Any:
    """Hash, summary and id computed again, as a careful forger would."""
    document["recipe"]["sha256"] = recipe_sha256(document["recipe"]["values"])
    record = RECORD.validate_json(json.dumps(document))
    assert isinstance(record, Measured)
    record = record.model_copy(update={"summary": summarize(record.runs, record.dataset.n)})
    return record.model_copy(update={"id": measured_id(record)}).model_dump(mode="json")


def sealed_verified(document: Any) -> Any:
    record = RECORD.validate_json(json.dumps(document))
    assert isinstance(record, Verified)
    return {**document, "id": certificate_id(record.report)}


_board_record("measured", sealed_measured)
_board_record("verified", sealed_verified)
_board_record("claims")
_board_record("demo")


@target(damaged(mutated([documents.run_result(), documents.certificate(), documents.demo()])), quick=20, nightly=10_000)
def ingestible(content: bytes) -> None:
    """What `ingest` reads from a single file is one of its kinds."""
    document = accepted(lambda: read_document(written(content), INGESTIBLE))
    assert document.kind in ("run", "verification", "audit", "duality_demo")
