"""Every row with a number that the paper's two versions print, as values; the facts stand in table_rows.json."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True, kw_only=True)
class TableRow:
    """One printed row: where it stands, what it prints, and the timm name of the network it describes.

    `accuracy_printed` is top-1 in percent and `params_printed` the count, both exactly as printed (None where the table
    has no such column). `quoted` rows are copied from other papers, given in `cites`. Datasets are MNIST, CIFAR10,
    CIFAR100 and ImageNet. Version v1 is arXiv 1911.10428v1, v2 the Neural Networks 2023 text.
    """

    id: str
    version: str
    table: int
    row: int
    dataset: str
    model_printed: str
    model: str
    accuracy_printed: str
    params_printed: str | None
    quoted: bool
    cites: str | None


@cache
def table_rows() -> tuple[TableRow, ...]:
    """All 173 printed rows of Tables 1-11 of version 2 and Tables 1-4 of version 1, in printed order."""
    text = files("mgnet_models.catalogue").joinpath("table_rows.json").read_text(encoding="utf-8")
    return tuple(TableRow(**row) for row in json.loads(text))
