"""mgnet-train: train the networks of the MgNet papers, tracked, resumable, the same on one process and on many.

    from mgnet_train import Options, fit, make_spec

    outcome = fit(make_spec("mgnet_2_2_c32_bl", dataset="digits"), Options(track="later"))
    print(outcome.result.accuracy_last, outcome.folder)

The command is `mgnet-train --help`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mgnet_records.errors import InputError
    from mgnet_records.run_result import RunResult
    from mgnet_train.config.execution import Execution, Options
    from mgnet_train.config.recipe import Recipe
    from mgnet_train.config.recipes import find_recipe
    from mgnet_train.config.run_spec import RunSpec, make_spec
    from mgnet_train.data.loading import load_dataset
    from mgnet_train.runs.result import read_result
    from mgnet_train.runs.run import Outcome, fit
    from mgnet_train.train.distributed import Processes, start_processes
    from mgnet_train.train.evaluation import Evaluation, evaluate_checkpoint

__all__ = [
    "Evaluation",
    "Execution",
    "InputError",
    "Options",
    "Outcome",
    "Processes",
    "Recipe",
    "RunResult",
    "RunSpec",
    "evaluate_checkpoint",
    "find_recipe",
    "fit",
    "load_dataset",
    "make_spec",
    "read_result",
    "start_processes",
]

# Where the names above are. They are imported when first used, so that `--help` need not wait for torch.
_MODULES = {
    "mgnet_records.errors": ("InputError",),
    "mgnet_records.run_result": ("RunResult",),
    "mgnet_train.config.execution": ("Execution", "Options"),
    "mgnet_train.config.recipe": ("Recipe",),
    "mgnet_train.config.recipes": ("find_recipe",),
    "mgnet_train.config.run_spec": ("RunSpec", "make_spec"),
    "mgnet_train.data.loading": ("load_dataset",),
    "mgnet_train.runs.result": ("read_result",),
    "mgnet_train.runs.run": ("Outcome", "fit"),
    "mgnet_train.train.distributed": ("Processes", "start_processes"),
    "mgnet_train.train.evaluation": ("Evaluation", "evaluate_checkpoint"),
}

if not TYPE_CHECKING:  # a checker sees the imports above, with their types, and reports a misspelled name

    def __getattr__(name: str) -> object:
        from importlib import import_module

        for module, names in _MODULES.items():
            if name in names:
                return getattr(import_module(module), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__]
