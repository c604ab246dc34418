"""How an exact parameter count compares with a printed one such as 8.3M."""

from __future__ import annotations

from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal
from typing import Literal

Agreement = Literal["rounded and truncated", "rounded", "truncated", "within 1 %", "discrepant"]

MILLION = Decimal(1_000_000)


def agreement(printed: str, exact: int) -> Agreement:
    """Which convention turns the exact count into the printed digits; `discrepant` when none does within 1 percent."""
    digits = Decimal(printed.removesuffix("M"))
    unit = Decimal(1).scaleb(int(digits.as_tuple().exponent))
    millions = Decimal(exact) / MILLION
    rounds = millions.quantize(unit, ROUND_HALF_UP) == digits
    truncates = millions.quantize(unit, ROUND_DOWN) == digits
    if rounds and truncates:
        return "rounded and truncated"
    if rounds or truncates:
        return "rounded" if rounds else "truncated"
    return "within 1 %" if abs(digits - millions) <= millions / 100 else "discrepant"


def agrees(verdict: Agreement) -> bool:
    """Whether the printed digits follow from the exact count by rounding or truncating."""
    return verdict not in ("within 1 %", "discrepant")
