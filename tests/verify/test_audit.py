"""The printed counts: our exact integer and verdict for every row, and an explanation wherever they differ."""

import json
from pathlib import Path

import pytest

from mgnet_models import paper_rows
from mgnet_verify.cli import main
from mgnet_verify.counts.by_name import closed_form_parameters
from mgnet_verify.paper import audit as paper_audit
from mgnet_verify.paper import audit_report
from mgnet_verify.paper.audit import audit, explanations, judge
from mgnet_verify.paper.audit_report import moved_counts

# Row id -> [exact count, verdict], worked out independently of this package.
KNOWN = json.loads(Path(__file__).with_name("printed_counts.json").read_text(encoding="utf-8"))


def test_all_141_rows_with_a_count_have_the_known_count_and_verdict() -> None:
    assert {v.row.id: [v.exact, v.verdict] for v in audit() if v.exact is not None} == KNOWN
    assert len(KNOWN) == 141


def test_all_173_rows_are_audited_and_none_differs_without_explanation() -> None:
    verdicts = audit()
    assert [verdict.row for verdict in verdicts] == list(paper_rows())
    assert len(verdicts) == 173
    assert [verdict.row.id for verdict in verdicts if verdict.unexplained] == []


def test_only_rows_that_differ_are_explained() -> None:
    assert set(explanations()) == {id_ for id_, (_, verdict) in KNOWN.items() if not verdict.startswith("exact")}


@pytest.mark.parametrize(
    "printed, exact, verdict",
    [
        ("8.3M", 8_301_924, "exact (round and truncate)"),
        ("8.3M", 8_250_000, "exact under round"),
        ("8.2M", 8_278_794, "exact under truncate"),
        ("8.3M", 8_230_000, "within 1%"),
        ("8.3M", 8_200_000, "discrepant"),
        ("21M", 21_280_330, "exact (round and truncate)"),
        ("15M", 14_818_634, "exact under round"),
    ],
)
def test_a_printed_count_is_judged_to_its_printed_digits(printed: str, exact: int, verdict: str) -> None:
    assert judge(printed, exact) == verdict


def test_a_count_that_is_not_in_millions_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'8300k' is not in millions: write it as in 8.3M"):
        judge("8300k", 8_301_924)


def test_an_unknown_family_has_no_closed_form() -> None:
    with pytest.raises(ValueError, match="no closed form for 'lenet'"):
        closed_form_parameters("lenet", "MNIST")


def test_every_network_built_today_has_the_count_that_its_closed_form_says() -> None:
    assert moved_counts(audit()) == []


def test_a_network_whose_count_moves_is_reported_and_fails_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(audit_report, "built_parameters", lambda model, dataset: 9_897_257)
    assert main(["audit", "--table", "6"]) == 1
    assert "mgnet_2_2_2_2_c64_128_256_512_bl_224 for ImageNet has 9,897,257 parameters, its closed form says 9,897,256" in (
        capsys.readouterr().out
    )


def test_an_unexplained_difference_fails_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(paper_audit, "explanations", dict)
    monkeypatch.setattr(audit_report, "moved_counts", lambda verdicts: [])
    assert main(["audit", "--table", "5"]) == 1
    assert "FAIL: no explanation for v2/table5/mgnet_2-2-2-2_c64-128-256-512_B/cifar100" in capsys.readouterr().out
