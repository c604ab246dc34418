"""What identifies a run, and where and how this start of it executes. Only the first decides the result."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mgnet_train.canonical import canonical_hash
from mgnet_train.config.network import Network, find_network
from mgnet_train.config.recipe import Recipe
from mgnet_train.config.recipes import find_recipe
from mgnet_train.data.info import FACTS
from mgnet_train.errors import unknown
from mgnet_train.provenance import Commit
from mgnet_train.workers import READERS


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """One experiment with one seed, by one state of the code. Runs with the same identity are the same run."""

    network: Network
    dataset: str
    recipe: Recipe
    seed: int
    commit: Commit

    @property
    def identity(self) -> str:
        """SHA-256 over everything that may decide the result."""
        return canonical_hash(self.as_json())

    @property
    def folder_name(self) -> str:
        """A readable name, made unique by the identity."""
        return f"{self.network.name}-{self.dataset}-{self.recipe.name}-s{self.seed}-{self.identity[:8]}"

    def as_json(self) -> dict[str, Any]:
        """The settings as config.json holds them."""
        return {
            "model": self.network.name,
            "entry": self.network.entry,
            "model_args": self.network.args,
            "dataset": self.dataset,
            "recipe": self.recipe.model_dump(mode="json"),
            "recipe_sha256": self.recipe.sha256,
            "seed": self.seed,
            "commit": self.commit.sha,
            "dirty": self.commit.dirty,
        }


@dataclass(frozen=True, kw_only=True)
class Options:
    """How one start executes. `track` is now (a sender beside the run) or later (`mgnet-train sync`).

    `source` says where a data set of image files is kept: None for `data_dir/<name>`, or `wds/NAME` or `hfds/NAME` below
    `data_dir`. `digest_contents` has the first start read every image file once and record a digest of all they hold.
    `certify` has mgnet-verify check the trained network. `notes` say how the process was set up, for the log.
    """

    runs: Path = Path("runs")
    data_dir: Path = Path("data")
    source: str | None = None
    digest_contents: bool = False
    device: str = "auto"
    threads: int | None = None
    workers: int = READERS
    track: str = "now"
    allow_unreachable_store: bool = False
    quiet: bool = False
    log_every: int = 50
    checkpoint_seconds: float = 300.0
    certify: bool = False
    notes: tuple[str, ...] = ()


def make_spec(
    model: str,
    *,
    dataset: str,
    recipe: str | None,
    overrides: dict[str, str],
    seed: int,
    commit: Commit,
    device: str,
    model_args: dict[str, Any] | None = None,
) -> RunSpec:
    """The run that names and overrides describe, on a device type. Raises UserError, with near names, for what is unknown."""
    if dataset not in FACTS:
        raise unknown("data set", dataset, FACTS)
    data = FACTS[dataset].model_data
    network = find_network(model, in_chans=data.input_size[0], num_classes=data.num_classes, extra=model_args)
    chosen = find_recipe(recipe, dataset=dataset, model=network.name).with_overrides(overrides).resolved(device)
    return RunSpec(network=network, dataset=dataset, recipe=chosen, seed=seed, commit=commit)
