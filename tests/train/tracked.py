"""Stopped runs for the tests of tracking: a config and a journal, and no network to export, which takes seconds."""

from __future__ import annotations

import json
import shutil
import uuid
from pathlib import Path
from typing import Any

from mgnet_records.provenance import UNKNOWN
from mgnet_train import Options, fit, make_spec, start_processes
from mgnet_train.runs.folder import read_config, write_config
from mgnet_train.runs.journal import JOURNAL, Journal, read_records
from mgnet_train.tracking.store import LINK

Points = list[tuple[str, int, float, int]]


def stopped_run(runs: Path) -> Path:
    """The folder of a run that was trained for an epoch and then stopped."""
    spec = make_spec("MgNet[1,1]-[4]-B^l", dataset="digits", overrides={"epochs": "1", "batch_size": "256"}, code=UNKNOWN)
    folder = fit(spec, Options(runs=runs, track="later", quiet=True, log_every=1), start_processes("cpu")).folder
    copy = twin(folder, 0, runs / "stopped")
    shutil.rmtree(folder)
    return copy


def twin(folder: Path, number: int, to: Path | None = None) -> Path:
    """Another run, with another run id and the same metrics."""
    other = to or folder.with_name(f"{folder.name}-{number}")
    other.mkdir(parents=True)
    run_id = uuid.uuid5(uuid.NAMESPACE_URL, str(number)).hex  # zeros would count as a placeholder
    write_config(other, read_config(folder) | {"run_id": run_id})
    journal = Journal(other, run_id)
    for record in read_records(folder / JOURNAL, 0)[0]:
        if record.kind != "end":
            journal.log(record.kind, record.step, record.metrics)
    journal.end("KILLED", is_exact=True)
    journal.close()
    return other


def change_config(folder: Path, **changes: Any) -> None:
    """Write a config with other values; the run id, with which the journal begins, stays."""
    write_config(folder, read_config(folder) | changes)


def points_sent(client: Any, folder: Path) -> Points:
    """Every point that the store has of the folder's run, as often as it has it."""
    run_id = json.loads((folder / LINK).read_text())["run_id"]
    names = client.get_run(run_id).data.metrics
    return sorted((name, m.step, m.value, m.timestamp) for name in names for m in client.get_metric_history(run_id, name))


def points_written(folder: Path) -> Points:
    """Every point of the journal."""
    records = [record for record in read_records(folder / JOURNAL, 0)[0] if record.kind != "end"]
    return sorted((name, record.step, value, record.time) for record in records for name, value in record.metrics.items())
