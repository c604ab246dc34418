"""The committed JSON Schema means the same as the record models, judged by a validator that is not ours."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from mgnet_leaderboard.records.measured import Measured
from mgnet_leaderboard.records.union import text_of

Json = dict[str, Any]
RESULTS = Path(__file__).parents[2] / "leaderboard" / "results"


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    """The committed schema, itself a valid one."""
    schema = json.loads((RESULTS / "schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_every_committed_record_fits_the_schema(validator: jsonschema.Draft202012Validator) -> None:
    paths = [path for path in RESULTS.rglob("*.json") if path.name != "schema.json"]
    assert len(paths) >= 3
    for path in paths:
        validator.validate(json.loads(path.read_text(encoding="utf-8")))


def test_all_three_kinds_of_evidence_and_the_demo_fit_the_schema(validator: jsonschema.Draft202012Validator, results: Path) -> None:
    kinds = set()
    for path in results.rglob("*.json"):
        record = json.loads(path.read_text(encoding="utf-8"))
        validator.validate(record)
        kinds.add(record["kind"])
    assert kinds == {"audit", "verified", "measured", "duality_demo"}


@pytest.mark.parametrize(
    "change",
    [{"rank": 1}, {"schema_version": 1}, {"kind": "proven"}, {"model": "../x"}, {"id": "short"}, {"runs": []}, {"epochs": "12"}],
    ids=["unknown_field", "old_schema", "kind", "path_as_name", "id", "no_runs", "text_as_number"],
)
def test_the_schema_refuses_what_the_models_refuse(
    validator: jsonschema.Draft202012Validator, measured: Callable[..., Measured], change: Json
) -> None:
    record = {**json.loads(text_of(measured())), **change}
    assert not validator.is_valid(record)
