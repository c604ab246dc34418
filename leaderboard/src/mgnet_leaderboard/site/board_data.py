"""The board as plain data: the numbers that sorting, filtering, comparing and downloading use, and nothing else."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from typing import Any

from mgnet_leaderboard.board.rows import BoardRow
from mgnet_leaderboard.site.filters import seed_half_width
from mgnet_records.datasets import DATA_SETS

FIELDS = (
    "key",
    "model",
    "name",
    "variant",
    "dataset",
    "reported_v1",
    "reported_v2",
    "reported_quoted",
    "tables",
    "parameters_printed",
    "parameters_exact",
    "parameters_agreement",
    "certificate",
    "macs_residual_form",
    "macs_feature_form",
    "measured_accuracy",
    "measured_half_width",
    "measured_accuracy_top5",
    "measured_seeds",
    "measured_test_images",
    "measured_images_per_second",
    "measured_by",
    "page",
)


def fields_of(row: BoardRow) -> tuple[Any, ...]:
    """The values of one row, in the order of FIELDS; None is unknown."""
    measured = row.headline
    return (
        row.key,
        row.model,
        row.name,
        row.variant or None,
        row.dataset,
        _printed(claim.accuracy_printed for claim in row.own if claim.version == "v1"),
        _printed(claim.accuracy_printed for claim in row.own if claim.version == "v2"),
        _printed(claim.accuracy_printed for claim in row.quoted),
        " ".join(dict.fromkeys(f"{claim.version}/T{claim.table}" for claim in row.reported)) or None,
        " ".join(dict.fromkeys(claim.params_printed for claim in row.reported if claim.params_printed)) or None,
        row.exact,
        "; ".join(dict.fromkeys(count.verdict for count in row.counts)) or None,
        row.status,
        row.macs.forward if row.macs else None,
        row.macs.feature_form if row.macs else None,
        measured.summary.accuracy_last_mean if measured else None,
        _rounded(seed_half_width(measured) if measured else None),
        measured.summary.accuracy_top5_mean if measured else None,
        measured.summary.seeds if measured else None,
        measured.dataset.n if measured else None,
        measured.summary.images_per_second_median if measured else None,
        (measured.contributor or "this project") if measured else None,
        f"model/{row.model}.html",
    )


def _printed(values: Iterable[str]) -> float | None:
    """The printed accuracy; tables of one version that repeat a row print it alike, and the first one counts."""
    return next((float(value) for value in values), None)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def script_text(views: Sequence[tuple[Any, ...]], html: Sequence[str]) -> str:
    """The data as a classic script, which a page opened from disk may load; it never holds `<`."""
    test_images = {key: data.test_images for key, data in DATA_SETS.items()}
    content = {"fields": FIELDS, "rows": views, "html": html, "testImages": test_images}
    text = json.dumps(content, separators=(",", ":"), sort_keys=True, allow_nan=False).replace("<", "\\u003c")
    return f"window.mgnetBoard = {text};\n"


def csv_text(views: Iterable[tuple[Any, ...]]) -> str:
    """The data as CSV; a text that a spreadsheet would run as a formula gets a leading apostrophe."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(FIELDS)
    for view in views:
        writer.writerow([_harmless(value) for value in view])
    return out.getvalue()


def _harmless(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value[:1] in "=+-@\t\r" else value
