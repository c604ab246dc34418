"""What identifies a run: network, data set, recipe, seed and commit. How it is computed is the execution, beside that."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mgnet_records.canonical import sha256_of
from mgnet_records.datasets import DATA_SETS
from mgnet_records.errors import InputError, unknown
from mgnet_records.provenance import CodeState, code_state
from mgnet_train.config.execution import Execution
from mgnet_train.config.network import NetworkSpec, find_network
from mgnet_train.config.recipe import Recipe
from mgnet_train.config.recipes import find_recipe

_LARGEST_SEED = 2**63 - 1


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """One experiment with one seed, by one state of the code; `execution` is resolved and no part of the identity."""

    network: NetworkSpec
    dataset: str
    recipe: Recipe
    seed: int
    code: CodeState
    execution: Execution = field(compare=False)

    @property
    def identity(self) -> str:
        """SHA-256 over everything that decides what is trained."""
        return sha256_of(self.as_json())

    @property
    def folder_name(self) -> str:
        """A readable name, made unique by the identity; an execution that is not the device's default is added to it."""
        name = f"{self.network.name}-{self.dataset}-{self.recipe.name}-s{self.seed}-{self.identity[:8]}"
        return name + self.execution.suffix

    def as_json(self) -> dict[str, Any]:
        """What identifies the run, as config.json holds it."""
        return {
            "model": self.network.name,
            "entry": self.network.entry,
            "model_args": self.network.args,
            "dataset": self.dataset,
            "recipe": self.recipe.model_dump(mode="json"),
            "recipe_sha256": self.recipe.sha256,
            "seed": self.seed,
            "commit": self.code.sha,
            "dirty": self.code.dirty,
        }


def make_spec(
    model: str,
    *,
    dataset: str,
    recipe: str | None = None,
    overrides: dict[str, str] | None = None,
    seed: int = 0,
    code: CodeState | None = None,
    device: str = "cpu",
    execution: Execution | None = None,
    model_args: dict[str, Any] | None = None,
) -> RunSpec:
    """The run of a model (a timm name or the paper's notation) on a data set.

    `recipe` is the data set's default when None, with `overrides` of its fields as text; `code` is the state of this
    repository when None; `device` is a device type, cpu or cuda, for which the `execution` is resolved. Raises InputError,
    with near names, for what is unknown, and for a recipe and an execution that exclude each other.
    """
    if dataset not in DATA_SETS:
        raise unknown("data set", dataset, DATA_SETS)
    if not 0 <= seed <= _LARGEST_SEED:
        raise InputError(f"seed={seed} is outside 0..2**63-1: use another --seed")
    data = DATA_SETS[dataset]
    network = find_network(model, in_chans=data.input_size[0], num_classes=data.num_classes, extra=model_args)
    chosen = find_recipe(recipe, dataset=dataset, model=network.name).with_overrides(overrides or {})
    computed = (execution or Execution()).resolved(device)
    if computed.threads is None:
        computed = replace(computed, threads=data.cpu_threads)
    if chosen.batchnorm == "sync" and computed.recompute != "none":
        raise InputError(
            f"recompute={computed.recompute} computes the BatchNorm of one process again: use batchnorm=averaged or recompute=none"
        )
    return RunSpec(network=network, dataset=dataset, recipe=chosen, seed=seed, code=code or current_code(), execution=computed)


def current_code() -> CodeState:
    """The state of the repository that this file is part of. Raises InputError when git does not answer."""
    return code_state(Path(__file__))
