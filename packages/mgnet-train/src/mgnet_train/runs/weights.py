"""Weights of a run given as a file or as the run's folder, and the data set that they were trained on."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from mgnet_records.errors import InputError
from mgnet_train.runs.folder import CONFIG, WEIGHTS, read_config, read_plain
from mgnet_train.runs.result import read_result


def weights_file(path: Path) -> Path:
    """The .safetensors file of a path, which may be a run folder. Raises InputError for what holds no weights."""
    if path.is_dir():
        if not os.path.lexists(path / WEIGHTS):
            raise InputError(f"{path} has no {WEIGHTS}: give a finished run, or a .safetensors file")
        return path / WEIGHTS
    if path.suffix in (".ckpt", ".json", ".jsonl"):
        raise InputError(f"{path} holds no weights to test: give {path.with_name(WEIGHTS)}, which a finished run has")
    return path


def dataset_of(weights: Path, named: str | None) -> str:
    """The data set to use: the one that is named, else the one that the run in the file's folder was trained on.

    Raises InputError when neither is known, and when the folder's run did not end with these weights.
    """
    if named is not None:
        return named
    folder = next((place for place in (weights.parent, weights.resolve().parent) if os.path.lexists(place / CONFIG)), None)
    if folder is None:
        raise InputError(f"{weights} is in no run folder, so its data set is not known: name it with --data")
    config, result = read_config(folder), read_result(folder)
    try:
        found = hashlib.sha256(read_plain(weights.resolve())).hexdigest()
    except OSError as error:
        raise InputError(f"{weights} cannot be read ({error.strerror}): give a .safetensors file") from None
    if result is not None and found != result.checkpoint_sha256:
        raise InputError(f"{weights} is not what the run in {folder} ended with, so its data set is not known: name it with --data")
    dataset: str = config["dataset"]
    return dataset
