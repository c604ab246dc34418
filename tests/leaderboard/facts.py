"""What the leaderboard knows of networks and recipes: `known.json`, written from the packages that make them.

    python -m tests.leaderboard.facts

Networks are counted anew, three builds of each without memory for weights: parameters are linear in the input channels and
the classes. Hashes of recipes are added and never dropped: records of an older recipe stay sound.
"""

from __future__ import annotations

import json
from pathlib import Path

import timm

from mgnet_models import registered_names
from mgnet_records.datasets import DATA_SETS
from mgnet_train.config.recipes import find_recipe, recipe_names

KNOWN = Path(__file__).resolve().parents[2] / "leaderboard" / "src" / "mgnet_leaderboard" / "records" / "known.json"


def counted(name: str, in_chans: int, num_classes: int) -> int:
    """Parameters of a registered network, built without memory for its weights."""
    model = timm.create_model(name, in_chans=in_chans, num_classes=num_classes, device="meta")
    return sum(parameter.numel() for parameter in model.parameters())


def line_of(name: str) -> list[int]:
    """Parameters that depend on neither, for each input channel, for each class."""
    first, channel, label = counted(name, 1, 10), counted(name, 2, 10), counted(name, 1, 11)
    return [first - (channel - first) - 10 * (label - first), channel - first, label - first]


def names() -> list[str]:
    """The registered names; `mgnet` alone is none, it needs a notation."""
    return [name for name in registered_names() if name != "mgnet"]


def recipe_hashes() -> dict[str, set[str]]:
    """The hashes of the unchanged recipes today."""
    found: dict[str, set[str]] = {}
    for dataset in DATA_SETS:
        for recipe in recipe_names(dataset):
            for model in names():
                found.setdefault(recipe, set()).add(find_recipe(recipe, dataset=dataset, model=model).sha256)
    return found


def main() -> None:
    """Write the file again."""
    kept = json.loads(KNOWN.read_text(encoding="utf-8"))["recipes"] if KNOWN.exists() else {}
    recipes = {name: sorted(hashes.union(kept.get(name, ()))) for name, hashes in sorted(recipe_hashes().items())}
    lines = ",\n".join(f"    {json.dumps(name)}: {json.dumps(line_of(name))}" for name in names())
    KNOWN.write_text(f'{{\n  "networks": {{\n{lines}\n  }},\n  "recipes": {json.dumps(recipes, indent=4)}\n}}\n', encoding="utf-8")
    print(f"{KNOWN}: {len(names())} networks, {sum(map(len, recipes.values()))} recipes")


if __name__ == "__main__":
    main()
