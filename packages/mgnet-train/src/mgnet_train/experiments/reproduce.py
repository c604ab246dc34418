"""Which runs a part of the paper asks for, and what they cost.

A target is a version (`v2`), a table (`v2/table3`) or the id of one row. Rows that print the same network on the same data
set share their runs; rows quoted from other papers are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from mgnet_models import PaperRow, paper_rows
from mgnet_train.config.network import Network
from mgnet_train.config.recipes import recipe_names
from mgnet_train.config.run_spec import RunSpec, make_spec
from mgnet_train.data.info import FACTS
from mgnet_train.errors import UserError, near
from mgnet_train.provenance import Commit


@dataclass(frozen=True, kw_only=True)
class PlannedRow:
    """One printed row and the runs, one for each seed, that measure it."""

    row: PaperRow
    specs: tuple[RunSpec, ...]


def plan(
    target: str, *, recipe: str | None, overrides: dict[str, str], seeds: int, commit: Commit, device: str
) -> list[PlannedRow]:
    """The rows of a target with their runs; the recipe is the version's own unless another is named."""
    rows = [row for row in paper_rows() if row.id == target or row.id.startswith(target.rstrip("/") + "/")]
    if not rows:
        starts = {"/".join(row.id.split("/")[:depth]) for row in paper_rows() for depth in (1, 2)}
        raise UserError(f"unknown part of the paper {target!r}: {near(target, starts | {row.id for row in paper_rows()})}")
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
                    commit=commit,
                    device=device,
                )
                for seed in range(seeds)
            ),
        )
        for row in rows
        if not row.quoted
    ]
    if not planned:
        raise UserError(f"every row of {target!r} is quoted from another paper: name a part with the paper's own runs")
    return planned


def distinct_runs(planned: Sequence[PlannedRow]) -> list[RunSpec]:
    """Every run once, first seeds first, so that a cut-short campaign has something of every row."""
    depth = max(len(row.specs) for row in planned)
    by_seed = [row.specs[seed] for seed in range(depth) for row in planned if seed < len(row.specs)]
    return list({spec.identity: spec for spec in by_seed}.values())


def training_macs(spec: RunSpec) -> int:
    """Multiply-adds of a whole training: forward and twice as much backward for every image of every epoch."""
    facts = FACTS[spec.dataset]
    per_image = forward_macs(spec.network, facts.model_data.input_size)
    return 3 * per_image * facts.train_images * spec.recipe.epochs


def forward_macs(network: Network, image: tuple[int, int, int]) -> int:
    """Multiply-adds of the convolutions and linear layers for one image (channels, height, width), without computing."""
    import timm

    with torch.device("meta"):
        model = timm.create_model(network.entry, **network.args).eval()
        with FlopCounterMode(display=False) as counter:
            model(torch.empty(2, *image))
    return int(counter.get_total_flops()) // 4  # two images, two operations a multiply-add


def _recipe_of(row: PaperRow) -> str:
    wanted = f"paper-{row.version}"
    return wanted if wanted in recipe_names(row.dataset.lower()) else recipe_names(row.dataset.lower())[0]
