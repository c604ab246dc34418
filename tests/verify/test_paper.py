"""The printed counts: our exact integer and verdict for every row, and an explanation wherever they differ."""

import json
from pathlib import Path

import pytest

from mgnet_models import paper_rows
from mgnet_verify.families import closed_form_parameters
from mgnet_verify.paper_audit import audit, explanations, judge

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
