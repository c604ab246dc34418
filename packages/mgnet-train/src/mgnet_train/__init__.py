"""mgnet-train: train any network of the paper's tables, tracked, resumable, the same on one process and on many.

The commands are `mgnet-train --help`; from Python: `make_spec` says what to train, `fit` trains it.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "Options": "config.run_spec",
    "Outcome": "runs.run",
    "Recipe": "config.recipe",
    "Result": "runs.result",
    "RunSpec": "config.run_spec",
    "UserError": "errors",
    "find_recipe": "config.recipes",
    "fit": "runs.run",
    "load_dataset": "data.loading",
    "make_spec": "config.run_spec",
    "read_result": "runs.result",
    "start_processes": "train.distributed",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: `--help` must not wait for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
