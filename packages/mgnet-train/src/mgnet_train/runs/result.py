"""The result of a run folder, and the environment that it was made in. The document itself is mgnet_records.run_result."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from mgnet_records.errors import InputError
from mgnet_records.files import write_json
from mgnet_records.provenance import cpu_name
from mgnet_records.run_result import RESULT_FILE, RUN_RESULT, Environment, RunResult
from mgnet_records.strict_json import read_document

if TYPE_CHECKING:
    import torch

_PACKAGES = ("mgnet-models", "mgnet-train", "mgnet-records", "mgnet-kernels")


def read_result(folder: Path) -> RunResult | None:
    """The result of a run folder; None when the run has not finished. Raises InputError for a corrupt one."""
    path = folder / RESULT_FILE
    if not os.path.lexists(path):
        return None
    try:
        # The shape alone: a run on a part of a data set is a run, though no leaderboard can rank it.
        return read_document(path, RUN_RESULT)
    except InputError as error:
        raise InputError(
            f"{error}. Restore it, or move it away, and the command that trained the run writes it again from the last checkpoint"
        ) from None


def write_result(folder: Path, result: RunResult) -> None:
    """Write result.json, whole or not at all. A run does this once, at its end, and nothing else ever writes the file."""
    write_json(folder / RESULT_FILE, result.model_dump(mode="json"), durable=True)


def environment(device: torch.device) -> Environment:
    """Software and hardware of this process, as result.json holds them."""
    import timm
    import torch

    on_cuda = device.type == "cuda"
    return Environment(
        python=platform.python_version(),
        torch=torch.__version__,
        timm=timm.__version__,
        packages={name: found for name in _PACKAGES if (found := _version(name)) is not None},
        cuda=torch.version.cuda if on_cuda else None,
        device=torch.cuda.get_device_name(device) if on_cuda else "cpu",
        cpu=cpu_name(),
        os=f"{platform.system()} {platform.release()}",
    )


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
