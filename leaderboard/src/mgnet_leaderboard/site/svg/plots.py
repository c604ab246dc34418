"""The Pareto plots: accuracy against parameters, multiply-adds and measured speed, one figure for each data set."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

from mgnet_leaderboard.board.rows import BoardRow
from mgnet_leaderboard.records.measured import Measured
from mgnet_leaderboard.site.filters import seed_half_width, two_decimals
from mgnet_leaderboard.site.svg.scatter import Point, scatter, short_number
from mgnet_records.datasets import display_name


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A plot of one data set against one cost, and how many points of each kind it has."""

    anchor: str
    title: str
    svg: Markup
    reported: int
    quoted: int
    measured: int
    left_out: tuple[str, ...]
    doubtful: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Cost:
    """A horizontal axis."""

    key: str
    label: str
    of_row: Callable[[BoardRow], float | None]
    of_record: Callable[[BoardRow, Measured], float | None]
    more_is_better: bool = False


def _macs(row: BoardRow) -> float | None:
    return row.macs.forward if row.macs else None


COSTS = (
    Cost(
        key="parameters",
        label="parameters (exact count)",
        of_row=lambda row: row.exact,
        of_record=lambda row, record: record.parameters,
    ),
    Cost(
        key="multiply-adds",
        label="multiply-adds per image, as the network runs",
        of_row=_macs,
        of_record=lambda row, record: _macs(row),
    ),
    Cost(
        key="speed",
        label="images per second while training, measured",
        of_row=lambda row: None,
        of_record=lambda row, record: record.summary.images_per_second_median or None,
        more_is_better=True,
    ),
)


def figures(rows: Sequence[BoardRow]) -> tuple[Figure, ...]:
    """A figure for each data set and cost that has at least two points."""
    by_dataset: dict[str, list[BoardRow]] = defaultdict(list)
    for row in rows:
        by_dataset[row.dataset].append(row)
    found = [_figure(same, key, cost) for key, same in by_dataset.items() for cost in COSTS]
    return tuple(figure for figure in found if figure is not None)


def _figure(rows: Sequence[BoardRow], dataset: str, cost: Cost) -> Figure | None:
    points = [point for row in rows for point in _points(row, cost)]
    points, left_out = _without_outliers(points)
    doubtful = [f"{row.name} ({row.counts[0].printed} printed)" for row in rows if row.another_network]
    if len(points) < 2:
        return None
    title = f"{display_name(dataset)}: accuracy against {cost.key}"
    kinds = [point.kind for point in points]
    return Figure(
        anchor=f"{dataset}-{cost.key}",
        title=title,
        svg=scatter(points, x_label=cost.label, y_label="test accuracy, %", title=title, more_is_better=cost.more_is_better),
        reported=kinds.count("reported"),
        quoted=kinds.count("quoted"),
        measured=kinds.count("measured"),
        left_out=tuple(point.label for point in left_out),
        doubtful=tuple(doubtful),
    )


def _points(row: BoardRow, cost: Cost) -> list[Point]:
    points = []
    x = cost.of_row(row)
    if x is not None and not row.another_network:
        seen = set()
        for claim in row.reported:
            if (claim.accuracy_printed, claim.quoted) in seen:
                continue
            seen.add((claim.accuracy_printed, claim.quoted))
            kind: Literal["quoted", "reported"] = "quoted" if claim.quoted else "reported"
            label = f"{claim.model_printed}: {claim.accuracy_printed} %, {kind} in {claim.version}, {short_number(x)}"
            points.append(Point(x=x, y=float(claim.accuracy_printed), half=None, kind=kind, label=label))
    for record in row.measured:
        x = cost.of_record(row, record)
        if x is not None:
            points.append(_measured_point(row, record, x))
    return points


def _measured_point(row: BoardRow, record: Measured, x: float) -> Point:
    summary = record.summary
    by = f"contributed by {record.contributor}" if record.contributor else "measured"
    label = f"{row.name}: {two_decimals(summary.accuracy_last_mean)} %, {by}, {summary.seeds} seed(s), {short_number(x)}"
    return Point(x=x, y=summary.accuracy_last_mean, half=seed_half_width(record), kind="measured", label=label)


def _without_outliers(points: Sequence[Point]) -> tuple[list[Point], list[Point]]:
    """Points more than 12 points of percent below the median would squash the others; the caption names them."""
    if not points:
        return [], []
    median = sorted(point.y for point in points)[len(points) // 2]
    kept = [point for point in points if point.y >= median - 12]
    return kept, [point for point in points if point.y < median - 12]
