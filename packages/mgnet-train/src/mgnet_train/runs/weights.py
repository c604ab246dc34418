"""Weights of a run given as a file or as the run's folder, and the data set that they were trained on."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from mgnet_records.errors import InputError
from mgnet_train.runs.folder import CONFIG, WEIGHTS, open_plain, read_config
from mgnet_train.runs.result import read_result


def weights_file(path: Path) -> Path:
    """The .safetensors file of a path, which may be a run folder. Raises InputError for what holds no weights."""
    if path.is_dir():
        if not os.path.lexists(path / WEIGHTS):
            raise InputError(f"{path} has no {WEIGHTS}: give a finished run, or a .safetensors file")
        path = path / WEIGHTS
    if path.suffix in (".ckpt", ".json", ".jsonl"):
        raise InputError(f"{path} holds no weights to test: give {path.with_name(WEIGHTS)}, which a finished run has")
    try:
        os.close(open_plain(Path(os.path.realpath(path))))
    except FileNotFoundError:
        raise InputError(f"no checkpoint at {path}: give a run folder or a .safetensors file") from None
    except OSError as error:
        raise InputError(f"{path} cannot be used ({error.strerror}): give a run folder or a .safetensors file") from None
    return path


def dataset_of(weights: Path, named: str | None) -> str:
    """The data set to use: the one that is named, else the one that the run in the file's folder was trained on.

    Raises InputError when neither is known, and when the folder's run did not end with these weights.
    """
    if named is not None:
        return named
    real = Path(os.path.realpath(weights))
    folder = next((place for place in (weights.parent, real.parent) if os.path.lexists(place / CONFIG)), None)
    if folder is None:
        raise InputError(f"{weights} is in no run folder, so its data set is not known: name it with --data")
    config, result = read_config(folder), read_result(folder)
    if result is not None and hashlib.sha256(real.read_bytes()).hexdigest() != result.checkpoint_sha256:
        raise InputError(f"{weights} is not what the run in {folder} ended with, so its data set is not known: name it with --data")
    dataset: str = config["dataset"]
    return dataset
