"""Accuracy in percent: always derived from the integers correct and n, always written the same way."""

from __future__ import annotations


def percent(correct: int, n: int) -> float:
    """100 * correct / n, the same expression that the training run logs."""
    return 100 * correct / n


def written(value: float) -> str:
    """Two decimals, as the paper prints."""
    return f"{value:.2f}"
