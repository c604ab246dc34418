"""The rows of the paper's tables as printed, and how a printed parameter count compares with an exact one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal
from typing import Literal

Verdict = Literal["exact (round and truncate)", "exact under round", "exact under truncate", "within 1%", "discrepant"]

EXACT: Verdict = "exact (round and truncate)"
ROUNDED: Verdict = "exact under round"
TRUNCATED: Verdict = "exact under truncate"
CLOSE: Verdict = "within 1%"
DISCREPANT: Verdict = "discrepant"


@dataclass(frozen=True, kw_only=True)
class TableRow:
    """One row with a number: where it stands, what it prints, and the timm name of the network it describes.

    `accuracy_printed` is top-1 in percent and `params_printed` the count, as in 8.3M, both exactly as printed (None where
    the table has no such column). `quoted` rows are copied from other papers, given in `cites`. `dataset` is a
    `paper_name` of `mgnet_records.datasets`. Version v1 is arXiv 1911.10428v1, v2 the Neural Networks 2023 text.
    """

    id: str
    version: str
    table: int
    row: int
    dataset: str
    model_printed: str
    model: str
    accuracy_printed: str
    params_printed: str | None
    quoted: bool
    cites: str | None


def judge(printed: str, exact: int) -> Verdict:
    """How a printed count such as "8.3M" relates to an exact one, to the digits printed. Raises ValueError if not so written."""
    if re.fullmatch(r"\d+(?:\.\d+)?M", printed, re.ASCII) is None:
        raise ValueError(f"printed count {printed!r} is not in millions: write it as in 8.3M")
    value = Decimal(printed[:-1])
    digits = len(printed[:-1].partition(".")[2])
    millions = Decimal(exact) / 10**6
    # Papers round or cut; a count that fits one of the two is as exact as the print can say.
    rounds, truncates = (millions.quantize(Decimal(1).scaleb(-digits), mode) == value for mode in (ROUND_HALF_UP, ROUND_DOWN))
    if rounds or truncates:
        return EXACT if rounds and truncates else ROUNDED if rounds else TRUNCATED
    return CLOSE if abs(value - millions) <= millions / 100 else DISCREPANT


def agrees(verdict: Verdict) -> bool:
    """Whether the printed digits follow from the exact count by rounding or truncating."""
    return verdict in (EXACT, ROUNDED, TRUNCATED)
