"""Options that several commands share: data, execution, surroundings of a run, fields of the recipe."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

from mgnet_records.errors import InputError
from mgnet_train.config.execution import SETTINGS, Execution, default_workers

if TYPE_CHECKING:
    from mgnet_train.config.execution import Options


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """The options that say where the data set is and how it is read."""
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="folder of the data sets (%(default)s)")
    parser.add_argument(
        "--source",
        help="read imagenet from wds/NAME (tar shards) or hfds/NAME (Hugging Face data set), by timm's factory, with NAME a "
        "folder below --data-dir; an image folder by default",
    )
    parser.add_argument(
        "--workers",
        type=not_negative,
        default=default_workers(),
        help="processes that read image files; 0 reads in the training process, which needs no /dev/shm (%(default)s)",
    )


def add_execution_options(parser: argparse.ArgumentParser, *, only: tuple[str, ...] = tuple(SETTINGS)) -> None:
    """The options that say how to compute; none of them changes what is trained."""
    group = parser.add_argument_group("execution (recorded with a run, no part of the recipe)")
    group.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (%(default)s)")
    group.add_argument("--threads", type=positive, help="CPU threads of PyTorch; default by data set")
    default = Execution()
    for name in only:
        values, what = SETTINGS[name]
        group.add_argument(f"--{name}", choices=values, default=getattr(default, name), help=f"{what} (%(default)s)")


def execution_of(arguments: argparse.Namespace) -> Execution:
    """The execution that the command line sets; settings without an option here keep their default."""
    given = {name: getattr(arguments, name) for name in (*SETTINGS, "threads") if hasattr(arguments, name)}
    return Execution(**given)


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """The options of the commands that train: data, execution, folder of runs, tracking, log."""
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of all runs (%(default)s)")
    add_data_options(parser)
    add_execution_options(parser)
    parser.add_argument(
        "--digest-contents", action="store_true", help="read every image file once, at the first start, and record their digest"
    )
    parser.add_argument(
        "--allocator",
        choices=("keep", "system"),
        default="keep",
        help="keep: glibc keeps freed memory for the next step, which saves page faults; system: as it is (%(default)s)",
    )
    parser.add_argument(
        "--track", choices=("now", "later"), default="now", help="send metrics to MLflow now, or later with `sync` (%(default)s)"
    )
    parser.add_argument("--allow-unreachable-store", action="store_true", help="train although MLflow's store does not answer")
    parser.add_argument("--log-every", type=positive, default=50, help="steps between two losses (%(default)s)")
    parser.add_argument("--checkpoint-seconds", type=seconds, default=300.0, help="longest time between checkpoints (%(default)s)")
    parser.add_argument("--certify", action="store_true", help="have mgnet-verify check each trained network")


def add_recipe_fields(parser: argparse.ArgumentParser) -> None:
    """One option for each field of the recipe."""
    from mgnet_train.config.recipe import Recipe

    group = parser.add_argument_group("fields of the recipe")
    for name, field in Recipe.model_fields.items():
        if name != "name":
            flag = "--" + name.replace("_", "-")
            group.add_argument(flag, dest=f"recipe_{name}", metavar="VALUE", help=(field.description or "").replace("%", "%%"))


def recipe_overrides(arguments: argparse.Namespace) -> dict[str, str]:
    """The recipe fields that the command line sets."""
    given = {name.removeprefix("recipe_"): value for name, value in vars(arguments).items() if name.startswith("recipe_")}
    return {name: value for name, value in given.items() if value is not None}


def options_of(arguments: argparse.Namespace, *, quiet: bool = False, notes: tuple[str, ...] = ()) -> Options:
    """What surrounds a run, from the command line."""
    from mgnet_train.config.execution import Options

    return Options(
        runs=arguments.runs,
        data_dir=arguments.data_dir,
        source=arguments.source,
        digest_contents=arguments.digest_contents,
        workers=arguments.workers,
        track=arguments.track,
        allow_unreachable_store=arguments.allow_unreachable_store,
        log_every=arguments.log_every,
        checkpoint_seconds=arguments.checkpoint_seconds,
        certify=arguments.certify,
        quiet=quiet,
        notes=notes,
    )


def model_argument(text: str) -> tuple[str, object]:
    """`KEY=JSON` as a pair."""
    name, _, value = text.partition("=")
    try:
        if not name.isidentifier():
            raise ValueError("no name of an argument")
        return name, json.loads(value, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=JSON, as channels=[8,16]") from None


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def positive(text: str) -> int:
    """A positive whole number."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)


def not_negative(text: str) -> int:
    """A whole number that is not negative."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 on")
    return int(text)


def seconds(text: str) -> float:
    """A time in seconds, not negative and finite."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return value


def model_arguments(arguments: argparse.Namespace) -> dict[str, object]:
    """The arguments of the model that the command line gives. Raises InputError for one that is given twice."""
    given: dict[str, object] = {}
    for name, value in arguments.model_arg:
        if name in given:
            raise InputError(f"model argument {name} is given twice, as {given[name]!r} and {value!r}: give it once")
        given[name] = value
    return given
