"""What a benchmark leaves behind: a table on the screen and a JSON file under build/benchmarks, with the machine it ran on."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.timing import Row

FOLDER = Path("build/benchmarks")


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A Markdown table, aligned."""
    cells = [[str(value) for value in row] for row in (columns, *rows)]
    widths = [max(len(row[k]) for row in cells) for k in range(len(columns))]
    lines = ["| " + " | ".join(value.ljust(width) for value, width in zip(row, widths)) + " |" for row in cells]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    print("\n".join([f"\n{title}\n", lines[0], rule, *lines[1:]]), flush=True)


def print_timing(title: str, rows: Sequence[Row], extra: Mapping[str, Sequence[object]] | None = None) -> None:
    """Medians and ratios of timed variants, with further columns."""
    extra = extra or {}
    print_table(
        f"{title} ({len(rows[0].seconds)} rounds)",
        ["variant", "median ms", "times faster", "lowest to highest", *extra],
        [
            [
                row.name,
                f"{1000 * row.median:.1f}",
                f"{row.ratio:.2f}",
                f"{min(row.ratios):.2f} to {max(row.ratios):.2f}",
                *(values[k] for values in extra.values()),
            ]
            for k, row in enumerate(rows)
        ],
    )


def write(name: str, results: object, **settings: object) -> Path:
    """Write build/benchmarks/NAME.json; returns its path."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{name}.json"
    content = {"benchmark": name, "settings": settings, "machine": machine(), "results": results}
    temporary = path.with_suffix(".partial")
    temporary.write_text(json.dumps(content, indent=1, default=str) + "\n", encoding="utf-8")
    os.replace(temporary, path)
    return path


def machine() -> dict[str, object]:
    """Hardware, versions and how busy the machine is now."""
    import torch

    from mgnet_train.config.run_spec import current_code
    from mgnet_train.runs.result import environment

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    code = current_code()
    return {
        **environment(device).model_dump(mode="json"),
        "threads": torch.get_num_threads(),
        "load_average": os.getloadavg()[0],
        "commit": code.sha,
        "dirty": code.dirty,
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(["python", "-m", *_module(sys.argv)]),
    }


def _module(arguments: Sequence[str]) -> list[str]:
    return [f"benchmarks.{Path(arguments[0]).stem}", *arguments[1:]]
