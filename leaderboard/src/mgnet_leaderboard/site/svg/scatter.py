"""Scatter plots as SVG text: two axes, points of three kinds of evidence, and the Pareto front as a step line."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from markupsafe import Markup, escape

WIDTH, HEIGHT = 720, 380
LEFT, RIGHT, TOP, BOTTOM = 62, 16, 16, 46


@dataclass(frozen=True, kw_only=True)
class Point:
    """A point: x (cost) and y (accuracy in percent), half the interval of y if there is one, and what a reader sees."""

    x: float
    y: float
    half: float | None
    kind: Literal["reported", "quoted", "measured"]
    label: str


@dataclass(frozen=True, kw_only=True)
class Axis:
    """A scale from data to pixels, linear or logarithmic, with its tick values."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool
    ticks: tuple[float, ...]

    def at(self, value: float) -> float:
        """The pixel of a value."""
        low, high, value = (math.log10(v) if self.logarithmic else v for v in (self.low, self.high, value))
        return self.start + (value - low) / (high - low) * (self.end - self.start)


def pareto_front(points: Iterable[Point]) -> list[Point]:
    """The points that no other point beats at the same or less cost, cheapest first."""
    front: list[Point] = []
    for point in sorted(points, key=lambda p: (p.x, -p.y)):
        if not front or point.y > front[-1].y:
            front.append(point)
    return front


def scatter(points: Sequence[Point], *, x_label: str, y_label: str, title: str, more_is_better: bool = False) -> Markup:
    """The plot as one SVG element; colors come from the style sheet."""
    x_axis = logarithmic_axis([p.x for p in points], LEFT, WIDTH - RIGHT)
    y_axis = linear_axis([p.y for p in points], HEIGHT - BOTTOM, TOP)
    parts = [_frame(x_axis, y_axis, x_label, y_label), _front_line(points, x_axis, y_axis, more_is_better)]
    parts += [_mark(point, x_axis, y_axis) for point in _one_a_pixel(points, x_axis, y_axis)]
    body = "\n".join(part for part in parts if part)
    return Markup(f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">\n{body}\n</svg>')


def logarithmic_axis(values: Sequence[float], start: float, end: float) -> Axis:
    """Powers of ten, with 2 and 5 between, around the values."""
    low, high = min(values) / 1.15, max(values) * 1.15
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = tuple(m * 10.0**d for d in decades for m in (1, 2, 5) if low <= m * 10.0**d <= high)
    return Axis(low=low, high=high, start=start, end=end, logarithmic=True, ticks=ticks)


def linear_axis(values: Sequence[float], start: float, end: float) -> Axis:
    """Round steps around the values, at least one point of percent high."""
    low, high = min(values), max(values)
    margin = max(0.08 * (high - low), 0.5)
    low, high = low - margin, high + margin
    step = next(s for s in (0.2, 0.5, 1, 2, 5, 10, 20, 50) if (high - low) / s <= 8)
    ticks = tuple(round(k * step, 6) for k in range(math.ceil(low / step), math.floor(high / step) + 1))
    return Axis(low=low, high=high, start=start, end=end, logarithmic=False, ticks=ticks)


def short_number(value: float) -> str:
    """8300000 as 8.3M."""
    for unit, name in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:.3g}{name}"
    return f"{value:.3g}"


def _frame(x_axis: Axis, y_axis: Axis, x_label: str, y_label: str) -> str:
    bottom, lines = HEIGHT - BOTTOM, []
    for tick in y_axis.ticks:
        y = f"{y_axis.at(tick):.1f}"
        lines.append(f'<path class="rule" d="M{LEFT} {y}H{WIDTH - RIGHT}"/>')
        lines.append(f'<text class="tick end" x="{LEFT - 8}" y="{y}" dy=".35em">{tick:g}</text>')
    for tick in x_axis.ticks:
        x = f"{x_axis.at(tick):.1f}"
        lines.append(f'<path class="rule" d="M{x} {TOP}V{bottom}"/>')
        lines.append(f'<text class="tick mid" x="{x}" y="{bottom + 18}">{short_number(tick)}</text>')
    lines.append(f'<text class="label mid" x="{(LEFT + WIDTH - RIGHT) / 2:g}" y="{HEIGHT - 6}">{escape(x_label)}</text>')
    middle = (TOP + bottom) / 2
    turned = f'x="14" y="{middle:g}" transform="rotate(-90 14 {middle:g})"'
    lines.append(f'<text class="label mid" {turned}>{escape(y_label)}</text>')
    return "\n".join(lines)


def _front_line(points: Sequence[Point], x_axis: Axis, y_axis: Axis, more_is_better: bool) -> str:
    """The front of the authors' own and the measured points; quoted ones had other protocols."""
    own = [p for p in points if p.kind != "quoted"]
    if more_is_better or len(own) < 2:
        return ""
    front = pareto_front(own)
    path = f"M{x_axis.at(front[0].x):.1f} {y_axis.at(front[0].y):.1f}"
    path += "".join(f"H{x_axis.at(p.x):.1f}V{y_axis.at(p.y):.1f}" for p in front[1:])
    return f'<path class="front" d="{path}H{WIDTH - RIGHT}"/>'


def _one_a_pixel(points: Sequence[Point], x_axis: Axis, y_axis: Axis) -> list[Point]:
    """Points of one kind that fall on one pixel as a single point that names the first and counts the others."""
    order = {"quoted": 0, "reported": 1, "measured": 2}
    places: dict[tuple[str, int, int], list[Point]] = {}
    for point in sorted(points, key=lambda p: (order[p.kind], p.x, p.y, p.label)):
        places.setdefault((point.kind, round(x_axis.at(point.x)), round(y_axis.at(point.y))), []).append(point)
    return [
        replace(same[0], label=f"{same[0].label}, and {len(same) - 1} more here") if len(same) > 1 else same[0]
        for same in places.values()
    ]


def _mark(point: Point, x_axis: Axis, y_axis: Axis) -> str:
    x, y = x_axis.at(point.x), y_axis.at(point.y)
    title = f"<title>{escape(point.label)}</title>"
    if point.kind == "quoted":
        return f'<path class="quoted" d="M{x:.1f} {y - 5:.1f}l5 5l-5 5l-5 -5z">{title}</path>'
    mark = f'<circle class="{point.kind}" cx="{x:.1f}" cy="{y:.1f}" r="{5 if point.kind == "measured" else 4}">{title}</circle>'
    if point.half is None:
        return mark
    low, high = (max(y_axis.low, point.y - point.half), min(y_axis.high, point.y + point.half))
    return f'<path class="interval" d="M{x:.1f} {y_axis.at(low):.1f}V{y_axis.at(high):.1f}"/>{mark}'
