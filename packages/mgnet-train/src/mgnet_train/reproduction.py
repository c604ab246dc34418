"""Reported against measured: the table that `mgnet-train reproduce` prints."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from pathlib import Path

from mgnet_train.experiments.reproduce import PlannedRow, distinct_runs, training_macs
from mgnet_train.experiments.sweep import finished_results

_CONVENTION = "cost: 3 x forward multiply-adds x training images x epochs"


def plan_lines(planned: Sequence[PlannedRow], runs: Path, *, rate: float | None) -> list[str]:
    """The runs, which are finished, and what the rest costs; `rate` in multiply-adds a second turns it into hours."""
    specs = distinct_runs(planned)
    lines, left = [], 0
    for spec in specs:
        macs = training_macs(spec)
        done = bool(finished_results([spec], runs))
        left += 0 if done else macs
        lines.append(f"{'done' if done else 'todo'}  {macs:9.2e} MACs  {spec.folder_name}")
    hours = f", {left / rate / 3600:,.1f} hours at {rate:.2g} MACs/s" if rate else ""
    total = sum(training_macs(spec) for spec in specs)
    lines.append(f"{len(specs)} runs for {len(planned)} rows: {total:.2e} MACs, {left:.2e} left{hours} ({_CONVENTION})")
    return lines


def table_lines(planned: Sequence[PlannedRow], runs: Path) -> list[str]:
    """One line for each row: what the paper prints, what the finished runs measure, and the spread over seeds."""
    lines = [f"{'row':44s} {'printed':>8s} {'measured':>15s} {'seeds':>6s} {'best on test':>13s}"]
    return lines + [_table_line(row, runs) for row in planned]


def _table_line(planned: PlannedRow, runs: Path) -> str:
    results = finished_results(planned.specs, runs)
    measured = best = "-"
    if results:
        last = [result.accuracy_last for result in results]
        spread = statistics.stdev(last) if len(last) > 1 else math.nan
        measured = f"{statistics.fmean(last):.2f} +- {spread:.2f}"
        best = f"{statistics.fmean(result.accuracy_best for result in results):.2f}"
    seeds = f"{len(results)}/{len(planned.specs)}"
    return f"{planned.row.id:44s} {planned.row.accuracy_printed:>8s} {measured:>15s} {seeds:>6s} {best:>13s}"
