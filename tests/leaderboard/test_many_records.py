"""The work of every command grows as the records do, whatever sets the records apart: lines of our code are counted, no time."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import mgnet_leaderboard
from mgnet_leaderboard.board.rows import board
from mgnet_leaderboard.records.measured import Measured, measured_id
from mgnet_leaderboard.records.union import Record, path_of, text_of, verified
from mgnet_leaderboard.site.board_data import fields_of
from mgnet_leaderboard.site.build import evidence_text
from mgnet_leaderboard.site.pages import pages
from mgnet_leaderboard.site.study_document import study_document
from mgnet_leaderboard.store.contribution import check_contribution
from mgnet_leaderboard.store.evidence import gathered
from mgnet_leaderboard.store.folder import read_results
from mgnet_leaderboard.store.ingest import ingest
from mgnet_records.certificate import CERTIFICATE

RESULTS = Path(__file__).parents[2] / "leaderboard" / "results"
SOURCES = str(Path(mgnet_leaderboard.__file__).parent)
Json = dict[str, Any]


def lines_of(work: Callable[[], object]) -> int:
    """How many lines of the leaderboard's Python the work executes; each turn of a loop counts."""
    count = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal count
        # "<string>": methods that dataclasses write, such as the comparison of two rows.
        if not frame.f_code.co_filename.startswith((SOURCES, "<string>")) or frame.f_code.co_filename.endswith(".j2"):
            return None
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


# Each makes the i-th record another one: by what a contributor may choose.
APART: dict[str, Callable[[Measured, int], Json]] = {
    "nothing but the machine": lambda r, i: {"environment": r.environment.model_copy(update={"os": f"Linux {i}"})},
    "the commit": lambda r, i: {"commit": f"{i + 1:040x}"},
    "the model": lambda r, i: {"model": f"mgnet_{i % 20 + 1}_2_c{i // 20 + 1}_{'bli' if i % 2 else 'bl'}"},
    "nu_1 alone": lambda r, i: {"model": f"mgnet_{i + 1}_2_c32_bl"},
    "the data set": lambda r, i: {"dataset": r.dataset.model_copy(update={"name": f"mine{i}"})},
    "arguments": lambda r, i: {"model_args": {**r.model_args, "width": i}},
    "the recipe": lambda r, i: {"recipe": r.recipe.model_copy(update={"name": f"digits{i}"})},
    "the contributor": lambda r, i: {"contributor": f"someone{i}"},
}


def records_apart(first: Measured, apart: str, number: int) -> Iterator[Measured]:
    for i in range(number):
        runs = tuple(
            run.model_copy(update={"run_id": f"{10 * i + k + 1:032x}", "checkpoint_sha256": f"{10 * i + k + 1:064x}"})
            for k, run in enumerate(first.runs)
        )
        record = first.model_copy(update={"runs": runs, **APART[apart](first, i)})
        yield record.model_copy(update={"id": measured_id(record)})


def certificates(report: Json, number: int) -> Iterator[Record]:
    for i in range(number):
        target = {"model": f"mgnet_{i + 1}_2_c32_bl", "checkpoint_sha256": None}
        yield verified(CERTIFICATE.validate_json(json.dumps({**report, "target": target})))


def require_linear(counts: tuple[int, int, int]) -> None:
    """The second step of equal size may cost hardly more than the first."""
    first, second = counts[1] - counts[0], counts[2] - counts[1]
    assert second <= 1.1 * first + 2_000, counts


def site(records: list[Record]) -> None:
    evidence = gathered(records)
    rows = board(evidence)
    list(pages(evidence, rows, [""] * len(rows)))
    [fields_of(row) for row in rows]
    evidence_text(evidence)
    if any(record.dataset.name == "digits" for record in evidence.measured):
        study_document(evidence, "digits")


# The others are tried by `make nightly`.
QUICK = ("nothing but the machine", "the model", "the data set")


@pytest.mark.parametrize("apart", [apart if apart in QUICK else pytest.param(apart, marks=pytest.mark.nightly) for apart in APART])
def test_the_work_for_the_site_grows_as_its_records_do(apart: str, measured: Callable[..., Measured]) -> None:
    claims = [record for record in read_results(RESULTS, committed=True) if not isinstance(record, Measured)]
    first = measured((350, 352))
    one, two, three = (lines_of(lambda n=n: site([*claims, *records_apart(first, apart, n)])) for n in (130, 260, 390))
    require_linear((one, two, three))


def test_the_work_for_the_site_grows_as_its_certificates_do(report: Json) -> None:
    require_linear(tuple(lines_of(lambda n=n: site(list(certificates(report, n)))) for n in (80, 160, 240)))  # type: ignore[arg-type]


def test_the_work_of_ingest_and_check_grows_as_the_runs_do(tmp_path: Path, result: Callable[..., Json]) -> None:
    def work(number: int) -> int:
        runs, records, base = (tmp_path / f"{name}{number}" for name in ("runs", "records", "base"))
        for i in range(number):
            content = result(i % 5, 350, series=f"s{i}", commit=f"{i // 5 + 1:040x}")
            content |= {"run_id": f"{i + 1:032x}", "checkpoint_sha256": f"{i + 1:064x}"}
            (runs / f"run{i}").mkdir(parents=True)
            (runs / f"run{i}" / "result.json").write_text(json.dumps(content), encoding="utf-8")
        base.mkdir()
        lines = lines_of(lambda: ingest([runs], records))
        for path in records.rglob("*.json"):
            record = Measured.model_validate_json(path.read_text(encoding="utf-8")).model_copy(update={"contributor": "someone"})
            record = record.model_copy(update={"id": measured_id(record)})
            path.unlink()
            (records / path_of(record)).write_text(text_of(record), encoding="utf-8")
        return lines + lines_of(lambda: check_contribution(records, base))

    require_linear((work(30), work(60), work(90)))
