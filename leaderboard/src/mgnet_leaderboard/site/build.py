"""The site: every page rendered into a temporary folder, which then takes the place of the old site."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from mgnet_leaderboard import __version__
from mgnet_leaderboard.board.rows import board, printed_ratio
from mgnet_leaderboard.records.union import schema_text
from mgnet_leaderboard.site.board_data import csv_text, fields_of, script_text
from mgnet_leaderboard.site.filters import notation_markup, seed_half_width, two_decimals
from mgnet_leaderboard.site.pages import PAGE_ROWS, pages
from mgnet_leaderboard.site.study_document import ON_THEIR_WORD
from mgnet_leaderboard.site.svg.heatmap import channel_picture, image_picture
from mgnet_leaderboard.site.svg.scatter import short_number
from mgnet_leaderboard.statistics.comparisons import against_printed
from mgnet_leaderboard.statistics.study import p_text
from mgnet_leaderboard.store.evidence import Evidence, gathered
from mgnet_leaderboard.store.folder import read_results
from mgnet_leaderboard.store.folder_swap import replaced_folder
from mgnet_records.datasets import display_name
from mgnet_records.run_result import percent

STATIC = Path(__file__).parents[1] / "static"


def build(results: Path, local: Path, out: Path) -> int:
    """Build the site of the committed records, and of this machine's where there are any; the number of pages."""
    evidence = gathered(read_results(results, committed=True), read_results(local, committed=False) if local.is_dir() else ())
    with replaced_folder(out) as folder:
        return _write_site(evidence, folder)


def _write_site(evidence: Evidence, folder: Path) -> int:
    environment = _environment()
    rows = board(evidence)
    row_markup: Any = environment.get_template("row.html.j2").module
    rendered = [row_markup.board_row(row, evidence.local, "") for row in rows]
    count = 0
    for page in pages(evidence, rows, rendered):
        _write(folder / page.path, environment.get_template(page.template).render(root=page.root, here=page.path, **page.context))
        count += 1
    views = [fields_of(row) for row in rows]
    _write(folder / "board.js", script_text(views, rendered if len(rows) > PAGE_ROWS else ()))
    _write(folder / "board.csv", csv_text(views))
    _write(folder / "evidence.json", evidence_text(evidence))
    _write(folder / "schema.json", schema_text())
    for path in sorted(STATIC.iterdir()):
        _write(folder / path.name, path.read_text(encoding="utf-8"))
    return count


def evidence_text(evidence: Evidence) -> str:
    """All evidence as one JSON file, the kinds under separate keys."""
    kinds = {
        "reported": evidence.claims.model_dump(mode="json")["rows"] if evidence.claims else [],
        "verified": [record.model_dump(mode="json") for record in evidence.verified],
        "measured": [record.model_dump(mode="json") for record in evidence.measured],
        "local": sorted(evidence.local),
    }
    return json.dumps(kinds, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("mgnet_leaderboard"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        notation=notation_markup, shown=display_name, short=short_number, percent=two_decimals, p_value=p_text
    )
    environment.globals.update(
        ratio=printed_ratio,
        version=__version__,
        accuracy=percent,
        against_printed=against_printed,
        half_width=seed_half_width,
        channel_picture=channel_picture,
        image_picture=image_picture,
        on_their_word=ON_THEIR_WORD,
    )
    return environment


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")
