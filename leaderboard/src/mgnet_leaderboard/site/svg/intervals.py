"""One line a model: every seed as a dot, the mean as a bar, the 95 % interval of the mean as a line."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup, escape

from mgnet_leaderboard.site.filters import two_decimals
from mgnet_leaderboard.site.svg.scatter import Axis, linear_axis
from mgnet_leaderboard.statistics.study import StudyRow

WIDTH, LEFT, RIGHT, LINE = 760, 250, 20, 22
# Points below the median that the axis still shows.
REACH = 10


def intervals_plot(rows: Sequence[StudyRow], title: str) -> Markup:
    """The plot as one SVG element; a row far below the others is written as a number at the edge."""
    median = rows[len(rows) // 2].record.summary.accuracy_last_mean
    axis = linear_axis([v for row in rows for v in row.accuracies.values() if v >= median - REACH], LEFT, WIDTH - RIGHT)
    bottom = 10 + LINE * len(rows)
    parts = []
    for tick in axis.ticks:
        x = f"{axis.at(tick):.1f}"
        parts.append(f'<path class="rule" d="M{x} 6V{bottom}"/>')
        parts.append(f'<text class="tick mid" x="{x}" y="{bottom + 18}">{tick:g}</text>')
    for place, row in enumerate(rows):
        parts.append(_line(row, axis, 10 + LINE * place + LINE / 2))
    label = f'<text class="label mid" x="{(LEFT + WIDTH) / 2:g}" y="{bottom + 38}">test accuracy, %</text>'
    head = f'<svg class="plot" viewBox="0 0 {WIDTH} {bottom + 46}" role="img" aria-label="{escape(title)}">'
    return Markup(head + "\n".join([*parts, label]) + "</svg>")


def _line(row: StudyRow, axis: Axis, y: float) -> str:
    mean, seeds = row.record.summary.accuracy_last_mean, row.record.summary.seeds
    name = f'<text class="tick end" x="{LEFT - 10}" y="{y:g}" dy=".35em">{escape(_short(row.label))}</text>'
    title = f"<title>{escape(row.label)}: {two_decimals(mean)} %, {seeds} seed(s)</title>"
    if mean < axis.low:
        return f'{name}<text class="tick" x="{LEFT}" y="{y:g}" dy=".35em">◂ {two_decimals(mean)}{title}</text>'
    interval = ""
    if row.half is not None:
        low, high = axis.at(max(axis.low, mean - row.half)), axis.at(min(axis.high, mean + row.half))
        interval = f'<path class="interval" d="M{low:.1f} {y:g}H{high:.1f}"/>'
    inside = [value for value in sorted(row.accuracies.values()) if value >= axis.low]
    dots = "".join(f'<circle class="seed" cx="{axis.at(value):.1f}" cy="{y:g}" r="3"/>' for value in inside)
    return f'{name}<g>{title}{interval}{dots}<path class="mean" d="M{axis.at(mean):.1f} {y - 7:g}v14"/></g>'


def _short(label: str) -> str:
    """As much of a label as fits left of the axis."""
    return label if len(label) <= 36 else label[:35] + "…"
