"""How an exact parameter count compares with a printed one such as 8.3M; the audit gives one of these verdicts."""

from __future__ import annotations

from typing import Literal

Verdict = Literal["exact (round and truncate)", "exact under round", "exact under truncate", "within 1%", "discrepant"]


def agrees(verdict: Verdict) -> bool:
    """Whether the printed digits follow from the exact count by rounding or truncating."""
    return verdict not in ("within 1%", "discrepant")


def ratio(printed: str, exact: int) -> float:
    """Printed over exact."""
    return float(printed.removesuffix("M")) * 1_000_000 / exact
