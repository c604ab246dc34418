"""Every registered network with its exact counts and the table rows that name it, as values and as a table."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass

import timm

from mgnet_models.catalogue.registry import registered_names
from mgnet_models.catalogue.summary import align, summary
from mgnet_models.catalogue.table_rows import table_rows


@dataclass(frozen=True, kw_only=True)
class ZooEntry:
    """One name: its default image (channels, height, width) and classes, exact counts there, weights, table rows."""

    name: str
    notation: str
    image: tuple[int, int, int]
    num_classes: int
    parameters: int
    macs: int
    has_weights: bool
    table_rows: tuple[str, ...]


def zoo(pattern: str = "*") -> tuple[ZooEntry, ...]:
    """Entries of the names that match a shell pattern; `mgnet` alone, which needs a notation, has none."""
    return tuple(_entry(name) for name in registered_names() if name != "mgnet" and fnmatch.fnmatch(name, pattern))


def _entry(name: str) -> ZooEntry:
    model = timm.create_model(name, device="meta")
    counts = summary(model)
    return ZooEntry(
        name=name,
        notation=str(getattr(model, "notation", "")),
        image=counts.image,
        num_classes=model.num_classes,
        parameters=counts.parameters,
        macs=counts.macs,
        has_weights=timm.get_pretrained_cfg(name).has_weights,
        table_rows=tuple(row.id for row in table_rows() if row.model == name),
    )


def as_table(entries: Iterable[ZooEntry]) -> str:
    """One line for each network; the last column names the tables that it is in."""
    rows = [("name", "notation", "image", "classes", "parameters", "MACs (conv + linear)", "weights", "tables")]
    for entry in entries:
        tables = dict.fromkeys("/".join(row.split("/")[:2]) for row in entry.table_rows)
        image = "x".join(map(str, entry.image))
        weights = "yes" if entry.has_weights else "no"
        counts = (f"{entry.parameters:,}", f"{entry.macs:,}")
        rows.append((entry.name, entry.notation, image, str(entry.num_classes), *counts, weights, " ".join(tables)))
    return "\n".join(align(rows, left=(0, 1, 7)))


def as_json(entries: Iterable[ZooEntry]) -> str:
    """The same as a JSON list."""
    return json.dumps([asdict(entry) for entry in entries], indent=2)
