"""The documents: sound ones are read back, contradictory and oversized ones are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from mgnet_leaderboard.records.union import RECORD
from mgnet_records import audit, certificate, demo, run_result
from mgnet_records.audit import AUDIT, Audit, audited
from mgnet_records.certificate import CERTIFICATE, certificate_id, certificate_schema, read_certificate
from mgnet_records.demo import DUALITY_DEMO
from mgnet_records.errors import InputError
from mgnet_records.files import write_json
from mgnet_records.run_result import RUN_RESULT, new_run_id, percent, read_run_result, recipe_sha256
from mgnet_records.strict_json import read_document
from mgnet_records.table_rows import TableRow
from records import documents
from records.documents import changed

RESULTS = Path(__file__).parents[2] / "leaderboard" / "results"


def load(adapter: TypeAdapter[Any], document: Any) -> Any:
    return adapter.validate_json(json.dumps(document))


@pytest.mark.parametrize(
    ("adapter", "document"),
    [(RUN_RESULT, documents.run_result()), (CERTIFICATE, documents.certificate()), (DUALITY_DEMO, documents.demo())],
)
def test_a_sound_document_comes_back_as_it_was(adapter: TypeAdapter[Any], document: dict[str, Any]) -> None:
    assert json.loads(json.dumps(load(adapter, document).model_dump(mode="json"))) == document


@given(correct=st.tuples(st.integers(0, 360), st.integers(0, 360)), seed=st.integers(0, 2**63 - 1), lr=st.floats(1e-6, 1e6))
def test_every_sound_result_is_read_back_and_has_no_fault(correct: tuple[int, int], seed: int, lr: float) -> None:
    document = changed(changed(documents.run_result(), "seed", seed), "recipe.values.lr", lr)
    document["recipe"]["sha256"] = recipe_sha256(document["recipe"]["values"])
    document["test"] = {"n": 360, "correct_last": min(correct), "correct_best": max(correct)}
    result = load(RUN_RESULT, document)
    assert run_result.fault_of(result) is None
    assert load(RUN_RESULT, result.model_dump(mode="json")) == result
    assert result.accuracy_last == percent(min(correct), 360) <= result.accuracy_best


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("images_per_second", 1.7e308),
        ("train_seconds", -1.0),
        ("epochs", 10**30),
        ("parameters", 10**30),
        ("parameters", 0),
        ("seed", -1),
        ("seed", True),
        ("run_id", "5E2B5EEA41D1448CA8E3D5E6A06BD0EE"),
        ("run_id", "0" * 32),
        ("started", "0001-01-01T00:00:00Z"),
        ("finished", "2999-01-01T00:00:00Z"),
        ("checkpoint_sha256", "0" * 64),
        ("model", "../escape"),
        ("notation", "a\u202eb"),
        ("model_args", {"a b": 1}),
        ("execution.precision", "auto"),
        ("execution.form", "literal"),
        ("execution.threads", 0),
        ("environment.os", "<script>"),
        ("mlflow_run_id", "5e2b5eea41d1448ca8e3d5e6a06bd0ee"),
        ("schema_version", 1),
        ("dirty", 0),
    ],
)
def test_a_value_out_of_bounds_is_refused(path: str, value: Any) -> None:
    with pytest.raises(ValidationError):
        load(RUN_RESULT, changed(documents.run_result(), path, value))


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("recipe.values.lr", 0.2, "recipe.sha256 is"),
        ("recipe.values.epochs", 12.0, "recipe.sha256 is"),
        ("recipe.values.name", "other", "called 'digits' and 'other'"),
        ("epochs", 13, "12 epochs, the run 13"),
        ("dataset.split", "train", "the test split is 'test'"),
        ("dataset.n", 1797, "360 test images, not 1797"),
        ("dataset.name", "mine", None),
        ("model_args.num_classes", 100, "10 classes, not 100"),
        ("model_args.num_classes", "ten", "not a whole number"),
        ("test.n", 359, "tested 359 of 360"),
        ("test.correct_best", 361, "361 of 360"),
        ("test.correct_best", 354, "worse than the last"),
        ("finished", "2026-01-01T00:00:00Z", "before it started"),
        ("commit", None, "both are known or both are null"),
        ("dirty", None, "both are known or both are null"),
    ],
)
def test_a_result_that_contradicts_itself_is_named_with_the_file(tmp_path: Path, path: str, value: Any, said: str | None) -> None:
    file = tmp_path / "result.json"
    write_json(file, changed(documents.run_result(), path, value))
    if said is None:
        read_run_result(file)
        return
    with pytest.raises(InputError, match=r"result\.json: ") as caught:
        read_run_result(file)
    assert said in str(caught.value)


def test_the_name_of_a_recipe_is_no_part_of_its_hash_and_run_ids_are_new() -> None:
    assert recipe_sha256({"name": "a", "lr": 0.1}) == recipe_sha256({"name": "b", "lr": 0.1}) != recipe_sha256({"lr": 0.2})
    assert new_run_id() != new_run_id()
    assert load(RUN_RESULT, changed(documents.run_result(), "run_id", new_run_id()))


def test_a_validator_that_is_not_ours_reads_the_schema_of_a_certificate() -> None:
    validator = jsonschema.Draft202012Validator(certificate_schema())
    validator.check_schema(certificate_schema())
    assert list(validator.iter_errors(documents.certificate())) == []
    for path, value in [("executions", []), ("target.model", "a\u200bb"), ("macs.literal", None), ("status", "fine")]:
        assert list(validator.iter_errors(changed(documents.certificate(), path, value)))


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("status", "fail", "the failed properties are []"),
        ("properties.0.status", "fail", "['forms_agree']"),
        ("properties.0.status", "not_applicable", "no property passed"),
        ("parameters.torch", 999, "parameter counts differ: [999, 1000]"),
        ("macs.feature_form.fvcore", 1, "multiply-adds of the feature form differ"),
        ("executions", ["forward", "forward"], "stands twice"),
        ("dirty", None, "both are known or both are null"),
    ],
)
def test_a_certificate_that_contradicts_itself_is_refused(tmp_path: Path, path: str, value: Any, said: str) -> None:
    file = tmp_path / "certificate.json"
    write_json(file, changed(documents.certificate(), path, value))
    with pytest.raises(InputError, match=r"certificate\.json: ") as caught:
        read_certificate(file)
    assert said in str(caught.value)


def test_the_id_of_a_certificate_is_of_what_was_examined_and_not_of_the_outcome() -> None:
    first = certificate_id(load(CERTIFICATE, documents.certificate()))
    for path, value, same in [
        ("properties.0.largest_gap", 0.5, True),
        ("executions", ["residual_form"], False),
        ("kernel_backend", "avx2", False),
        ("dirty", True, False),
    ]:
        other = load(CERTIFICATE, changed(documents.certificate(), path, value))
        assert (certificate_id(other) == first) == same
    assert certificate.fault_of(load(CERTIFICATE, documents.certificate())) is None


def row(**fields: Any) -> TableRow:
    usual: dict[str, Any] = {
        "id": "v2/table7/mgnet/cifar10",
        "version": "v2",
        "table": 7,
        "row": 1,
        "dataset": "CIFAR10",
        "model_printed": "MgNet",
        "model": "mgnet_2_2_2_2_c256_bl",
        "accuracy_printed": "96.00",
        "params_printed": "8.3M",
        "quoted": False,
        "cites": None,
    }
    return TableRow(**usual | fields)


def test_an_audited_row_has_the_verdict_of_its_counts() -> None:
    assert audited(row(), exact=8_300_000, explanation=None).verdict == "exact (round and truncate)"
    assert audited(row(params_printed=None), exact=None, explanation=None).verdict is None
    unexplained = audited(row(), exact=9_000_000, explanation=None)
    assert unexplained.unexplained
    assert not audited(row(), exact=9_000_000, explanation="a misprint").unexplained
    assert audit.fault_of(Audit(rows=(unexplained,))) is None
    assert "stands twice" in (audit.fault_of(Audit(rows=(unexplained, unexplained))) or "")
    wrong = unexplained.model_copy(update={"verdict": "within 1%"})
    assert "give 'discrepant'" in (audit.fault_of(Audit(rows=(wrong,))) or "")


def test_the_committed_audit_and_demo_are_sound() -> None:
    claims = AUDIT.validate_json((RESULTS / "claims" / "paper.json").read_bytes())
    shown = DUALITY_DEMO.validate_json((RESULTS / "demo" / "duality.json").read_bytes())
    assert audit.fault_of(claims) is None
    assert demo.fault_of(shown) is None


def test_a_demo_without_a_difference_and_frames_of_two_shapes_are_no_demo() -> None:
    flat = load(DUALITY_DEMO, changed(documents.demo(), "control.grids.0.steps", documents.demo()["grids"][0]["steps"]))
    assert "no difference" in (demo.fault_of(flat) or "")
    ragged = load(DUALITY_DEMO, changed(documents.demo(), "grids.0.steps.1.u", [[1]]))
    assert "shapes" in (demo.fault_of(ragged) or "")


@pytest.mark.parametrize(
    "document",
    [{"kind": ["x" * 90] * 2000}, {"kind": "y" * 9000}, {"k" * 9000: 1}, {"kind": "run", "seed": "z" * 9000}, {"a\n\u202eb": 1}],
    ids=["list as kind", "long kind", "long key", "long value", "key of two lines"],
)
def test_what_is_said_of_a_document_is_one_short_line_whatever_it_holds(tmp_path: Path, document: Any) -> None:
    file = tmp_path / "record.json"
    write_json(file, document)
    with pytest.raises(InputError) as caught:
        read_document(file, RECORD, limit=10**6)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < len(str(file)) + 600
