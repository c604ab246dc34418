"""A table of the paper that can be trained to its end in seconds, and how its runs must look afterwards."""

from __future__ import annotations

from pathlib import Path

from mgnet_train.runs.journal import JOURNAL, read_records


def reproduction(data: Path, runs: Path) -> list[str]:
    """The words that train Table 2, four runs, on the smallest MNIST there is; --epochs is the caller's."""
    words = ["reproduce", "v2/table2", "--batch-size", "4", "--device", "cpu", "--threads", "1", "--track", "later"]
    return [*words, "--data-dir", str(data), "--runs", str(runs)]


def finished_once(runs: Path) -> bool:
    """Every planned run has a result and was trained by one start, to its end, once."""
    for folder in (path.parent for path in runs.glob("*/config.json")):
        records = read_records(folder / JOURNAL, 0)[0]
        assert (folder / "result.json").exists()
        assert [record.kind for record in records if record.kind != "step"] == ["epoch", "end"]
    return len(list(runs.glob("*/config.json"))) == 4
