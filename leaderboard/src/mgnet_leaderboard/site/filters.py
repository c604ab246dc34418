"""What the templates write numbers and notation with."""

from __future__ import annotations

import re

from markupsafe import Markup, escape

from mgnet_leaderboard.records.measured import Measured
from mgnet_leaderboard.statistics.intervals import half_width

SUPERSCRIPT = re.compile(r"\^(?:\{([^{}]*)\}|(\w))")


def two_decimals(value: float) -> str:
    """An accuracy in percent or points, as the paper prints it."""
    return f"{value:.2f}"


def seed_half_width(record: Measured) -> float | None:
    """Half the 95 % interval of the mean accuracy of a record, in points; None for one seed."""
    return half_width(list(record.accuracies.values()))


def notation_markup(text: str) -> Markup:
    """The paper's ASCII notation as safe HTML: B^{l,i} becomes a B with a superscript, sigma the Greek letter."""
    safe = str(escape(text))
    safe = SUPERSCRIPT.sub(lambda match: f"<sup>{(match[1] or match[2]).replace('l', 'ℓ')}</sup>", safe)
    return Markup(safe.replace("sigma o ", "σ∘").replace("sigma", "σ"))
