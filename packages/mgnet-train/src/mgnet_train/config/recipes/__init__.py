"""The named recipes, one file for each source: two versions of the paper, the authors' released code, the paper on
sparse coding, two of this project.

The sources differ from each other, and each is kept as it is. What a source leaves open is chosen in its file, by name,
with the reason in its `REASONS`.
"""

from __future__ import annotations

from types import ModuleType

from mgnet_records.datasets import DATA_SETS
from mgnet_records.errors import InputError, unknown
from mgnet_train.config.recipe import Recipe
from mgnet_train.config.recipes import digits, modern, paper_v1, paper_v2, released_code, sparse_coding

# The first one that says something about a data set is its default.
_SOURCES: dict[str, ModuleType] = {
    "digits": digits,
    "paper-v2": paper_v2,
    "paper-v1": paper_v1,
    "released-code": released_code,
    "sparse-coding": sparse_coding,
    "modern": modern,
}

REASONS: dict[str, dict[str, str]] = {name: source.REASONS for name, source in _SOURCES.items()}


def recipe_names(dataset: str) -> tuple[str, ...]:
    """The recipes that exist for a data set, the default first."""
    return tuple(name for name, source in _SOURCES.items() if dataset in source.VALUES)


def find_recipe(name: str | None, *, dataset: str, model: str) -> Recipe:
    """The named recipe (the data set's default for None) for one data set and model.

    Raises InputError for an unknown name and for a recipe that says nothing about the data set.
    """
    if dataset not in DATA_SETS:
        raise unknown("data set", dataset, DATA_SETS)
    names = recipe_names(dataset)
    chosen = name or names[0]
    if chosen not in _SOURCES:
        raise unknown("recipe", chosen, _SOURCES)
    if chosen not in names:
        raise InputError(f"recipe {chosen!r} says nothing about {dataset}: choose one of {', '.join(names)}")
    return Recipe.model_validate({"name": chosen, **_SOURCES[chosen].values(dataset, model)})
