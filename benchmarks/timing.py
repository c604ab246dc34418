"""Timing of variants in turn: each round runs all of them, so that what slows a round down slows all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One variant: seconds of each round, and how many times faster than the baseline it was in each."""

    name: str
    seconds: tuple[float, ...]
    ratios: tuple[float, ...]

    @property
    def median(self) -> float:
        """Seconds."""
        return statistics.median(self.seconds)

    @property
    def ratio(self) -> float:
        """The median of the ratios, each of one round."""
        return statistics.median(self.ratios)

    def as_json(self) -> dict[str, object]:
        """All that was measured, and its summary."""
        return {
            "name": self.name,
            "median_seconds": self.median,
            "ratio": self.ratio,
            "ratio_range": [min(self.ratios), max(self.ratios)],
            "rounds": len(self.seconds),
            "seconds": list(self.seconds),
        }


def in_turn(
    variants: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    wait: Callable[[], None] = lambda: None,
    clock: str = "wall",
) -> list[Row]:
    """Time each variant once a round, after one untimed run of each; the first is the baseline.

    Every second round goes through the variants backwards. `wait` returns when a device has done its work. The clock is
    "wall", or on a busy machine "cpu": the seconds that this process computed, which with one thread come near to it.
    """
    read = CLOCKS[clock]
    for run in variants.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for number in range(rounds):
        for name in list(variants) if number % 2 == 0 else reversed(list(variants)):
            wait()
            start = read()
            variants[name]()
            wait()
            seconds[name].append(read() - start)
    return compared(seconds)


def compared(seconds: Mapping[str, list[float]]) -> list[Row]:
    """Rows of seconds that were measured round by round; the first is the baseline."""
    baseline = next(iter(seconds.values()))
    return [
        Row(name=name, seconds=tuple(mine), ratios=tuple(base / own for base, own in zip(baseline, mine)))
        for name, mine in seconds.items()
    ]
