"""`mgnet-train recipes`: what each recipe does on a data set, and why."""

from __future__ import annotations

import argparse

from mgnet_records.datasets import DATA_SETS
from mgnet_records.errors import ExitCode


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "recipes", help="the recipes of a data set, and their reasons", description="Print the recipes of a data set in full."
    )
    parser.add_argument("--data", default="cifar100", help=f"{', '.join(DATA_SETS)} (%(default)s)")
    parser.add_argument("--model", default="", help="a model, for rules that look at its depth")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print them."""
    from mgnet_records.errors import unknown
    from mgnet_train.config.recipes import REASONS, find_recipe, recipe_names

    if arguments.data not in DATA_SETS:
        raise unknown("data set", arguments.data, DATA_SETS)
    for name in recipe_names(arguments.data):
        recipe = find_recipe(name, dataset=arguments.data, model=arguments.model)
        print(f"{name} on {arguments.data}, sha256 {recipe.sha256[:16]}")
        for field, value in recipe.model_dump(exclude={"name"}).items():
            print(f"  {field:20s} {value}")
        for field, reason in REASONS[name].items():
            print(f"  why {field}: {reason}")
    return ExitCode.DONE
