"""The parameter counts of the paper's tables against ours: a verdict for every table row, an explanation for every difference."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from importlib.resources import files

import timm
import torch

from mgnet_models import table_rows
from mgnet_records.audit import Audit, AuditedRow, audited
from mgnet_records.errors import InputError
from mgnet_records.table_rows import TableRow
from mgnet_verify.counts.by_name import closed_form_counts, data_set
from mgnet_verify.counts.measured import torch_parameters


@cache
def explanations() -> dict[str, str]:
    """Row id -> why the printed count differs from ours, from explanations.json."""
    entries = json.loads(files("mgnet_verify.paper").joinpath("explanations.json").read_text(encoding="utf-8"))
    return {row: entry["explanation"] for entry in entries for row in entry["rows"]}


def audited_row(row: TableRow) -> AuditedRow:
    """One table row beside the exact counts of its network."""
    counted = closed_form_counts(row.model, row.dataset)
    return audited(
        row,
        exact=counted.parameters,
        macs=counted.macs,
        macs_feature_form=counted.macs_feature_form,
        explanation=explanations().get(row.id),
    )


def audit(table: int | None = None) -> Audit:
    """Every table row of both versions of the paper in printed order, or those of the tables with one number.

    Raises InputError for a number that no table has.
    """
    rows = [row for row in table_rows() if table is None or row.table == table]
    if not rows:
        tables = sorted({row.table for row in table_rows()})
        raise InputError(f"there is no table {table} with numbers: the paper has tables {tables[0]} to {tables[-1]}")
    return Audit(rows=tuple(audited_row(row) for row in rows))


def built_parameters(model: str, dataset: str) -> int | None:
    """Parameters of the registered network; None if the name is not registered. Built on the meta device, so without memory."""
    if not timm.is_model(model):
        return None
    data = data_set(dataset)
    with torch.device("meta"):
        return torch_parameters(timm.create_model(model, in_chans=data.input_size[0], num_classes=data.num_classes))


def moved_counts(document: Audit, *, built: Callable[[str, str], int | None] = built_parameters) -> list[str]:
    """One line for each network whose parameters do not equal the closed form; each network is built once."""
    exact = {(row.model, row.dataset): row.exact for row in document.rows if row.exact is not None}
    moved = []
    for (model, dataset), count in exact.items():
        seen = built(model, dataset)
        if seen is None:
            moved.append(f"{model} is not registered, its closed form says {count:,}")
        elif seen != count:
            moved.append(f"{model} for {dataset} has {seen:,} parameters, its closed form says {count:,}")
    return moved


def faults(document: Audit, moved: Sequence[str]) -> list[str]:
    """Why an audit fails, one line each: networks whose count moved, and differences without an explanation."""
    unexplained = [row.id for row in document.rows if row.unexplained]
    return [*moved, *([f"no explanation for {', '.join(unexplained)}"] if unexplained else [])]


def audit_lines(document: Audit) -> Iterator[str]:
    """A table of the rows with a printed count, the explanations below it, each once, and the number of rows with each verdict."""
    counted = [row for row in document.rows if row.verdict is not None]
    width = max((len(row.id) for row in counted), default=0)
    for row in counted:
        yield f"{row.id:{width}}  {row.params_printed:>7}  {row.exact:>13,}  {row.verdict}"
    explained: dict[str, list[str]] = {}
    for row in counted:
        if row.explanation:
            explained.setdefault(row.explanation, []).append(row.id)
    for explanation, rows in explained.items():
        yield f"\n{', '.join(rows)}: {explanation}"
    verdicts = Counter(str(row.verdict) for row in counted)
    summary = ", ".join(f"{number} {verdict}" for verdict, number in sorted(verdicts.items())) or "none"
    yield f"\n{len(document.rows)} rows, {len(counted)} with a count: {summary}"
