"""Python starts with this file where its folder is in PYTHONPATH: in the processes that a script starts which runs under
`python -m mgnet_models SCRIPT`. There, importing timm registers the names of mgnet_models too.

A `sitecustomize` of the system, which this one hides, runs first.
"""

from __future__ import annotations

import importlib.util
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any


class RegisterAfterTimm(MetaPathFinder):
    """Imports mgnet_models once timm itself is imported; a process that needs no timm pays nothing."""

    def find_spec(self, fullname: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        """The spec of timm, whose module imports mgnet_models at its end; None for everything else."""
        if fullname != "timm":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec("timm")
        if spec is None or spec.loader is None or importlib.util.find_spec("mgnet_models") is None:
            return spec  # another environment
        execute = spec.loader.exec_module

        def execute_and_register(module: ModuleType) -> None:
            execute(module)
            import mgnet_models  # noqa: F401

        spec.loader.exec_module = execute_and_register  # type: ignore[method-assign]
        return spec


def run_hidden(folder: Path) -> None:
    """Run the `sitecustomize` that would have been found without this folder in the path."""
    kept = list(sys.path)
    sys.path[:] = [entry for entry in kept if not entry or Path(entry).resolve() != folder]
    ours = sys.modules.pop("sitecustomize", None)
    try:
        if importlib.util.find_spec("sitecustomize") is not None:
            importlib.import_module("sitecustomize")
    finally:
        sys.path[:] = kept
        if ours is not None:
            sys.modules["sitecustomize"] = ours


if __name__ == "sitecustomize":
    run_hidden(Path(__file__).resolve().parent)
    sys.meta_path.insert(0, RegisterAfterTimm())
