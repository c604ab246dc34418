"""The counts in the paper's tables: our exact integer and verdict for every row, and an explanation wherever they differ."""

import json
from pathlib import Path

import pytest
import timm
import torch

from mgnet_models import table_rows
from mgnet_records.audit import Audit, fault_of
from mgnet_records.errors import InputError
from mgnet_verify import audit
from mgnet_verify.cli import main
from mgnet_verify.counts.by_name import closed_form_counts
from mgnet_verify.paper.audit import audit_lines, explanations, faults, moved_counts

# Row id -> [exact count, verdict], worked out independently of this package.
KNOWN = json.loads(Path(__file__).with_name("printed_counts.json").read_text(encoding="utf-8"))


def test_all_141_rows_with_a_printed_count_have_the_known_count_and_verdict() -> None:
    assert {row.id: [row.exact, row.verdict] for row in audit().rows if row.params_printed is not None} == KNOWN
    assert len(KNOWN) == 141


def test_every_row_has_its_counts_whether_the_paper_prints_one_or_not() -> None:
    """Quoted baselines too; a MgNet has the feature form beside, which does more."""
    for row in audit().rows:
        assert row.exact is not None
        assert row.macs is not None
        assert (row.macs_feature_form is not None) == row.model.startswith("mgnet_")
        assert row.macs_feature_form is None or row.macs_feature_form > row.macs


def test_all_173_rows_are_audited_and_none_differs_without_explanation() -> None:
    document = audit()
    assert [row.id for row in document.rows] == [row.id for row in table_rows()]
    assert len(document.rows) == 173
    assert faults(document, []) == []
    assert fault_of(document) is None


def test_only_rows_that_differ_are_explained() -> None:
    assert set(explanations()) == {id_ for id_, (_, verdict) in KNOWN.items() if not verdict.startswith("exact")}


@pytest.mark.parametrize(
    "name, row",
    [
        ("mgresnet18_al_bli", "v2/table3/resnet18_A-Bi/cifar10"),
        ("mgpreactresnet18_al_bli", "v2/table3/preact_resnet18_A-Bi/cifar10"),
        ("mgresnet34_al_bl", "v2/table3/resnet34_A-B/cifar10"),
        ("mgpreactresnet34_al_bl", "v2/table3/preact_resnet34_A-B/cifar10"),
    ],
)
def test_the_size_of_a_state_dict_that_an_explanation_quotes_is_that_of_the_network(name: str, row: str) -> None:
    with torch.device("meta"):
        network = timm.create_model(name, num_classes=10)
    assert f"{sum(tensor.numel() for tensor in network.state_dict().values()):,} numbers" in explanations()[row]


def test_each_explanation_is_printed_once() -> None:
    lines = "\n".join(audit_lines(audit()))
    for explanation in set(explanations().values()):
        assert lines.count(explanation) == 1


def test_an_unknown_family_has_no_closed_form() -> None:
    with pytest.raises(InputError, match="no closed form for 'lenet'"):
        closed_form_counts("lenet", "MNIST")


def test_every_network_built_today_has_the_count_that_its_closed_form_says() -> None:
    assert moved_counts(audit()) == []


def test_a_network_whose_count_moved_is_a_fault() -> None:
    document = audit(6)
    moved = moved_counts(document, built=lambda model, dataset: 9_897_257)
    assert "mgnet_2_2_2_2_c64_128_256_512_bl_224 for ImageNet has 9,897,257 parameters, its closed form says 9,897,256" in moved
    assert faults(document, moved)[: len(moved)] == moved


def test_a_name_that_is_no_longer_registered_is_a_fault() -> None:
    moved = moved_counts(audit(6), built=lambda model, dataset: None)
    assert any("mgnet_2_2_2_2_c64_128_256_512_bl_224 is not registered" in line for line in moved)


def test_an_unexplained_difference_is_a_fault() -> None:
    rows = tuple(row.model_copy(update={"explanation": None}) for row in audit(5).rows)
    assert "no explanation for v2/table5/mgnet_2-2-2-2_c64-128-256-512_B/cifar100" in faults(Audit(rows=rows), [])


def test_a_fault_is_printed_and_fails_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("mgnet_verify.paper.audit.moved_counts", lambda document: ["mgnet_a has 2 parameters"])
    assert main(["audit", "--table", "5"]) == 1
    assert "FAIL: mgnet_a has 2 parameters" in capsys.readouterr().out
