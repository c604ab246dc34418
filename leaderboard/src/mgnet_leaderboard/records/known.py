"""What the leaderboard knows of networks and recipes without the packages that make them: names, counts, hashes.

`known.json` is written by `python -m tests.leaderboard.facts` from mgnet-models and mgnet-train; a test compares it with
them. Any MgNet is known by its name, which says all of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from itertools import pairwise
from typing import Any

from mgnet_leaderboard.records.architecture import GridShape, grids_of
from mgnet_records.datasets import DATA_SETS
from mgnet_records.errors import shown, unknown

# Arguments that the data set decides: channels of the image, number of classes, size.
OF_THE_DATA = {"in_chans", "num_classes", "img_size"}
# Arguments that repeat what the name of a MgNet says.
_OF_THE_NAME = {"notation", "stem"}


@cache
def _facts() -> dict[str, Any]:
    return dict(json.loads((files("mgnet_leaderboard") / "records" / "known.json").read_text(encoding="utf-8")))


def known_networks() -> Mapping[str, list[int]]:
    """Of each registered name: parameters that depend on neither, parameters for each input channel, for each class."""
    return dict(_facts()["networks"])


def known_recipes() -> Mapping[str, list[str]]:
    """Of each recipe name: the hashes that its unchanged values had or have, over all data sets and models."""
    return dict(_facts()["recipes"])


def notation_of(model: str) -> str | None:
    """The paper's notation of a MgNet from its name; None for any other name, and for a second spelling of one."""
    grids = grids_of(model)
    pairs = list(dict.fromkeys((grid.channels_u, grid.channels_f) for grid in grids))
    pairs = pairs if len(pairs) == 1 else [(grid.channels_u, grid.channels_f) for grid in grids]
    equal = all(u == f for u, f in pairs)
    nu = [grid.iterations for grid in grids]
    own_B = "_bli" in model
    sizes = "_".join(f"{u}" if equal else f"{u}x{f}" for u, f in pairs)
    stem = "_224" if model.endswith("_224") else ""
    if (
        not grids
        or model != f"mgnet_{'_'.join(map(str, nu))}_c{sizes}_{'bli' if own_B else 'bl'}{stem}"
        or 0 in (*nu, *sum(pairs, ()))
    ):
        return None
    channels = ",".join(f"{u}" if equal else f"({u},{f})" for u, f in pairs)
    return f"MgNet[{','.join(map(str, nu))}]-[{channels}]-{'B^{l,i}' if own_B else 'B^l'}"


def parameters_of(model: str, *, in_chans: int, num_classes: int) -> int | None:
    """Parameters of a network as its name says; None for a name that is not known."""
    if model in known_networks():
        fixed, per_channel, per_class = known_networks()[model]
        return fixed + per_channel * in_chans + per_class * num_classes
    if notation_of(model) is None:
        return None
    return _mgnet_parameters(
        grids_of(model), kernel=49 if model.endswith("_224") else 9, in_chans=in_chans, num_classes=num_classes
    )


def _mgnet_parameters(grids: tuple[GridShape, ...], *, kernel: int, in_chans: int, num_classes: int) -> int:
    """The closed form: stem, then A, B, two normalizations an iteration, Pi and R of every grid, then the classifier."""
    total = (kernel * in_chans + 2) * grids[0].channels_f + (grids[-1].channels_u + 1) * num_classes
    for grid in grids:
        total += 9 * grid.channels_u * grid.channels_f * (grid.kernels_A + grid.kernels_B)
        total += 2 * grid.iterations * (grid.channels_u + grid.channels_f)
    for finer, grid in pairwise(grids):
        total += 9 * finer.channels_u * grid.channels_u + 9 * finer.channels_f * grid.channels_f
        total += 2 * (grid.channels_u + grid.channels_f)
    return total


def changed_arguments(model: str, arguments: Mapping[str, Any]) -> set[str]:
    """The arguments that make the network another one than its name says."""
    return set(arguments) - OF_THE_DATA - (_OF_THE_NAME if notation_of(model) else set())


def fault_of_network(model: str, notation: str | None, arguments: Mapping[str, Any], parameters: int, dataset: str) -> str | None:
    """Why this is not the network that its name says; None when it is, or when changed arguments leave the count unknown."""
    expected = notation_of(model)
    if model not in known_networks() and expected is None:
        return f"{unknown('model', model, known_networks())} A MgNet has the name that mgnet-train gives to its notation"
    if notation is not None and notation != expected:
        return f"the notation is {shown(notation)}, but {model} is {expected or 'no MgNet'}"
    stem = "imagenet" if model.endswith("_224") else "cifar"
    given = arguments.get("notation"), arguments.get("stem", stem)
    if expected is not None and given not in ((None, stem), (expected, stem)):
        return f"model_args says {shown(given[0])} with stem {shown(given[1])}, but {model} is {expected} with stem {stem!r}"
    data, missing = DATA_SETS.get(dataset), sorted({"in_chans", "num_classes"} - arguments.keys())
    if missing:
        return f"model_args lacks {' and '.join(missing)}"
    if data is not None and arguments["in_chans"] != data.input_size[0]:
        return f"model_args.in_chans is {shown(arguments['in_chans'])}, but images of {dataset} have {data.input_size[0]} channels"
    return None if changed_arguments(model, arguments) else _fault_of_count(model, arguments, parameters)


def _fault_of_count(model: str, arguments: Mapping[str, Any], parameters: int) -> str | None:
    in_chans, num_classes = arguments["in_chans"], arguments["num_classes"]
    for name, value in (("in_chans", in_chans), ("num_classes", num_classes)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            return f"model_args.{name} is {shown(value)}, not a positive whole number"
    counted = parameters_of(model, in_chans=in_chans, num_classes=num_classes)
    if parameters != counted:
        return f"{model} with {in_chans} input channels and {num_classes} classes has {counted:,} parameters, not {parameters:,}"
    return None


def fault_of_recipe_name(name: str, sha256: str) -> str | None:
    """Why the name of a recipe does not fit its hash; None when it does. A plus at the end says that fields were changed."""
    recipes = known_recipes()
    plain = name.removesuffix("+")
    if plain not in recipes:
        return f"{unknown('recipe', plain, recipes)}"
    if name == plain and sha256 not in recipes[plain]:
        return f"the values are not those of recipe {name!r}; a recipe of which fields were changed is called {name + '+'!r}"
    return None
