"""The journal keeps every metric once, whatever happens to the disk or the process."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mgnet_train.runs.journal import JOURNAL, Journal, read_records


def _steps(folder: Path) -> list[tuple[str, int]]:
    return [(record.kind, record.step) for record in read_records(folder / JOURNAL, 0)[0]]


def test_a_torn_last_line_is_cut_and_written_anew(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.log("step", 1, {"loss": 1.0})
    journal.log("step", 2, {"loss": 0.5})
    journal.close()
    content = (tmp_path / JOURNAL).read_bytes()
    (tmp_path / JOURNAL).write_bytes(content[:-9])
    again = Journal(tmp_path)
    again.log("step", 2, {"loss": 0.5})
    again.close()
    assert _steps(tmp_path) == [("step", 1), ("step", 2)]


def test_a_step_computed_again_is_compared_and_not_repeated(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.log("epoch", 1, {"loss": 1.0, "perf/images_per_second": 10.0})
    journal.close()
    again = Journal(tmp_path)
    again.log("epoch", 1, {"loss": 1.0, "perf/images_per_second": 99.0})
    assert again.replay_mismatches == 0
    again.log("epoch", 1, {"loss": 1.5})
    assert again.replay_mismatches == 1
    again.close()
    assert _steps(tmp_path) == [("epoch", 1)]


@given(st.lists(st.booleans(), min_size=1, max_size=30))
def test_a_disk_that_is_full_now_and_then_costs_no_line(tmp_path_factory: pytest.TempPathFactory, full: list[bool]) -> None:
    folder = tmp_path_factory.mktemp("journal")
    journal = Journal(folder)
    write = os.pwrite
    with pytest.MonkeyPatch.context() as patch:
        for step, is_full in enumerate(full):
            # A full disk either refuses the write or takes a part of it.
            def refusing(file: int, line: bytes, offset: int, step: int = step) -> int:
                if step % 2:
                    raise OSError(28, "No space left on device")
                return write(file, line[: len(line) // 2], offset)

            patch.setattr(os, "pwrite", refusing if is_full else write)
            journal.log("step", step, {"loss": float(step)})
    journal.close()
    assert _steps(folder) == [("step", step) for step in range(len(full))]


def test_reading_from_an_offset_gives_what_came_after_it(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.log("step", 1, {"loss": 1.0})
    _, offset = read_records(tmp_path / JOURNAL, 0)
    journal.log("step", 2, {"loss": 2.0})
    journal.end("FINISHED", is_exact=True)
    journal.close()
    records, end = read_records(tmp_path / JOURNAL, offset)
    assert [(record.kind, record.step, record.status) for record in records] == [("step", 2, None), ("end", 0, "FINISHED")]
    assert end == (tmp_path / JOURNAL).stat().st_size
