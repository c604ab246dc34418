"""The paper's printed parameter counts against ours: a verdict for every row, an explanation for every difference."""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal
from functools import cache
from importlib.resources import files

from mgnet_models.catalogue.table_rows import PaperRow, paper_rows
from mgnet_verify.counts.by_name import closed_form_parameters
from mgnet_verify.errors import UserError

EXACT, ROUNDED, TRUNCATED = "exact (round and truncate)", "exact under round", "exact under truncate"
CLOSE, DISCREPANT = "within 1%", "discrepant"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One printed row beside our exact count; all None where the row prints no count."""

    row: PaperRow
    exact: int | None
    verdict: str | None
    explanation: str | None

    @property
    def unexplained(self) -> bool:
        """A printed count that fits ours neither rounded nor truncated, without an explanation."""
        return self.verdict in (CLOSE, DISCREPANT) and self.explanation is None


def judge(printed: str, exact: int) -> str:
    """How a printed count such as "8.3M" relates to an exact one, to the digits printed."""
    if not printed.endswith("M"):
        raise ValueError(f"printed count {printed!r} is not in millions: write it as in 8.3M")
    value = Decimal(printed[:-1])
    unit = Decimal(1).scaleb(value.as_tuple().exponent)  # type: ignore[arg-type]
    millions = Decimal(exact) / 10**6
    rounds, truncates = (millions.quantize(unit, mode) == value for mode in (ROUND_HALF_UP, ROUND_DOWN))
    if rounds or truncates:
        return EXACT if rounds and truncates else ROUNDED if rounds else TRUNCATED
    return CLOSE if abs(value / millions - 1) <= Decimal("0.01") else DISCREPANT


@cache
def explanations() -> dict[str, str]:
    """Row id -> why the printed count differs from ours; the texts stand in explanations.json."""
    entries = json.loads(files("mgnet_verify.paper").joinpath("explanations.json").read_text(encoding="utf-8"))
    return {row: entry["explanation"] for entry in entries for row in entry["rows"]}


def verdict_of(row: PaperRow) -> Verdict:
    """The verdict on one printed row."""
    if row.params_printed is None:
        return Verdict(row=row, exact=None, verdict=None, explanation=None)
    exact = closed_form_parameters(row.model, row.dataset)
    return Verdict(row=row, exact=exact, verdict=judge(row.params_printed, exact), explanation=explanations().get(row.id))


def audit(table: int | None = None) -> list[Verdict]:
    """Every printed row of both versions in printed order, or of the tables with one number."""
    rows = [row for row in paper_rows() if table is None or row.table == table]
    if not rows:
        tables = sorted({row.table for row in paper_rows()})
        raise UserError(f"there is no table {table} with numbers: the paper has tables {tables[0]} to {tables[-1]}")
    return [verdict_of(row) for row in rows]
