"""A data set by name, read from where its files lie."""

from __future__ import annotations

from pathlib import Path

from mgnet_train.data.dataset import ResidentDataset
from mgnet_train.data.facts import FACTS
from mgnet_train.errors import unknown


def load_dataset(name: str, data_dir: Path) -> ResidentDataset:
    """The named data set; its files lie in `data_dir/<name>`. Raises UserError for an unknown name or missing files."""
    if name not in FACTS:
        raise unknown("data set", name, FACTS)
    from mgnet_train.data.digits import read_digits

    return read_digits()
