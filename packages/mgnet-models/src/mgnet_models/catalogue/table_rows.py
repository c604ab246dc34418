"""Every row with a number that the paper's two versions print, as values; the facts are in table_rows.json."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files

from mgnet_records.table_rows import TableRow


@cache
def table_rows() -> tuple[TableRow, ...]:
    """All 173 rows of Tables 1-11 of version 2 and Tables 1-4 of version 1, in printed order."""
    text = files("mgnet_models.catalogue").joinpath("table_rows.json").read_text(encoding="utf-8")
    return tuple(TableRow(**row) for row in json.loads(text))
