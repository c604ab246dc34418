"""Tables of the paper as runs: which ones a part of the paper needs, what they cost, and reported against measured.

A target is a version (`v2`), a table (`v2/table3`) or the id of one row. Rows of the same network on the same data set share
their runs; rows quoted from other papers are left out.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from mgnet_models import TableRow, table_rows
from mgnet_records.datasets import DATA_SETS
from mgnet_records.errors import InputError, unknown
from mgnet_records.provenance import CodeState
from mgnet_train.config.execution import Execution
from mgnet_train.config.network import NetworkSpec
from mgnet_train.config.recipes import recipe_names
from mgnet_train.config.run_spec import RunSpec, make_spec
from mgnet_train.experiments.sweep import finished_results

_CONVENTION = "cost: 3 x forward multiply-adds x training images x epochs"


@dataclass(frozen=True, kw_only=True)
class PlannedRow:
    """One table row and the runs that measure it, one for each seed."""

    row: TableRow
    specs: tuple[RunSpec, ...]


def plan(
    target: str,
    *,
    recipe: str | None,
    overrides: dict[str, str],
    seeds: int,
    code: CodeState,
    device: str,
    execution: Execution | None = None,
) -> list[PlannedRow]:
    """The rows of a target with their runs; the recipe is the version's own unless another is named.

    Raises InputError, with near names, for a target that the paper does not have or that has quoted rows only.
    """
    rows = [row for row in table_rows() if row.id == target or row.id.startswith(target.rstrip("/") + "/")]
    if not rows:
        starts = {"/".join(row.id.split("/")[:depth]) for row in table_rows() for depth in (1, 2)}
        raise unknown("part of the paper", target, starts | {row.id for row in table_rows()})
    planned = [
        PlannedRow(
            row=row,
            specs=tuple(
                make_spec(
                    row.model,
                    dataset=row.dataset.lower(),
                    recipe=recipe or _recipe_of(row),
                    overrides=overrides,
                    seed=seed,
                    code=code,
                    device=device,
                    execution=execution,
                )
                for seed in range(seeds)
            ),
        )
        for row in rows
        if not row.quoted
    ]
    if not planned:
        raise InputError(f"every row of {target!r} is quoted from another paper: name a part with the paper's own runs")
    return planned


def distinct_runs(planned: Sequence[PlannedRow]) -> list[RunSpec]:
    """Every run once, first seeds first, so that a sweep that is cut short has something of every row."""
    depth = max(len(row.specs) for row in planned)
    by_seed = [row.specs[seed] for seed in range(depth) for row in planned if seed < len(row.specs)]
    return list({spec.folder_name: spec for spec in by_seed}.values())


def training_macs(spec: RunSpec) -> int:
    """Multiply-adds of a whole training: forward, and twice as much backward, for every image of every epoch."""
    data = DATA_SETS[spec.dataset]
    return 3 * forward_macs(spec.network, data.input_size) * data.train_images * spec.recipe.epochs


def forward_macs(network: NetworkSpec, image: tuple[int, int, int]) -> int:
    """Multiply-adds of the convolutions and linear layers for one image (channels, height, width), counted on meta tensors."""
    import timm

    with torch.device("meta"):
        model = timm.create_model(network.entry, **network.args).eval()
        with FlopCounterMode(display=False) as counter:
            model(torch.empty(2, *image))
    return int(counter.get_total_flops()) // 4  # two images, two operations a multiply-add


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
    """One line for each row: what the paper reports, what the finished runs measure, and the spread over seeds."""
    lines = [f"{'row':44s} {'reported':>8s} {'measured':>15s} {'seeds':>6s} {'best on test':>13s}"]
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


def _recipe_of(row: TableRow) -> str:
    named = f"paper-{row.version}"
    return named if named in recipe_names(row.dataset.lower()) else recipe_names(row.dataset.lower())[0]
