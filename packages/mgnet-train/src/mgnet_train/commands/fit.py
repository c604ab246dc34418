"""`mgnet-train fit`: train one network, or go on with it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from mgnet_train.errors import ExitCode

if TYPE_CHECKING:
    from mgnet_train.fitting import Outcome
    from mgnet_train.settings import Options

DEFAULT_MODEL = "mgnet_2_2_c32_bl"


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "fit",
        help="train one network, or go on with it",
        description="Train one network. The same command again resumes it from its last checkpoint or shows its result.",
        epilog="Exit codes: 0 done, 2 bad input, 66 no data, 70 loss not finite, 73 trained by another process, "
        "75 stopped by a signal and resumable, 1 anything else.",
    )
    parser.add_argument("model", nargs="?", default=DEFAULT_MODEL, help="timm name or MgNet[2,2]-[32]-B^l (%(default)s)")
    parser.add_argument("--data", default="digits", help="digits, mnist, cifar10, cifar100 or imagenet (%(default)s)")
    parser.add_argument("--recipe", help="paper-v2, paper-v1, released-code, modern or digits; default by data set")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights, order and augmentation (%(default)s)")
    add_execution(parser)
    add_recipe_fields(parser)
    parser.set_defaults(run=run)


def add_execution(parser: argparse.ArgumentParser) -> None:
    """The options that say where and how, shared by the commands that train."""
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of all runs (%(default)s)")
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="folder of the data sets (%(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (%(default)s)")
    parser.add_argument("--threads", type=_positive, help="CPU threads of PyTorch")
    parser.add_argument(
        "--track", choices=("now", "later"), default="now", help="send metrics to MLflow now, or later with `sync` (%(default)s)"
    )
    parser.add_argument("--allow-unreachable-store", action="store_true", help="train although MLflow's store does not answer")
    parser.add_argument("--log-every", type=_positive, default=50, help="steps between two losses (%(default)s)")
    parser.add_argument("--checkpoint-seconds", type=float, default=300.0, help="longest time between checkpoints (%(default)s)")


def add_recipe_fields(parser: argparse.ArgumentParser) -> None:
    """One option for each field of the recipe, so that every one can be overridden."""
    from mgnet_train.recipe import Recipe

    group = parser.add_argument_group("fields of the recipe")
    for name, field in Recipe.model_fields.items():
        if name != "name":
            flag = "--" + name.replace("_", "-")
            group.add_argument(flag, dest=f"recipe_{name}", metavar="VALUE", help=(field.description or "").replace("%", "%%"))


def recipe_overrides(arguments: argparse.Namespace) -> dict[str, str]:
    """The recipe fields that the command line sets."""
    given = {name.removeprefix("recipe_"): value for name, value in vars(arguments).items() if name.startswith("recipe_")}
    return {name: value for name, value in given.items() if value is not None}


def run(arguments: argparse.Namespace) -> int:
    """Check, train, print the result."""
    from mgnet_train.fitting import fit
    from mgnet_train.processes import start_processes
    from mgnet_train.provenance import current_commit
    from mgnet_train.settings import make_spec

    processes = start_processes(arguments.device)
    try:
        spec = make_spec(
            arguments.model,
            dataset=arguments.data,
            recipe=arguments.recipe,
            overrides=recipe_overrides(arguments),
            seed=arguments.seed,
            commit=current_commit(),
            device=processes.device.type,
        )
        outcome = fit(spec, options_of(arguments), processes)
        if processes.leads:
            print(_report(outcome))
    finally:
        processes.close()
    return ExitCode.DONE


def options_of(arguments: argparse.Namespace) -> Options:
    """The execution options of the command line."""
    from mgnet_train.settings import Options

    return Options(
        runs=arguments.runs,
        data_dir=arguments.data_dir,
        device=arguments.device,
        threads=arguments.threads,
        track=arguments.track,
        allow_unreachable_store=arguments.allow_unreachable_store,
        log_every=arguments.log_every,
        checkpoint_seconds=arguments.checkpoint_seconds,
    )


def _report(outcome: Outcome) -> str:
    result, test = outcome.result, outcome.result.test
    how = "finished before" if outcome.was_finished else f"trained in {result.train_seconds:.1f} s"
    tracked = "MLflow has it" if outcome.is_sent else "MLflow does not have all of it yet: run `mgnet-train sync`"
    return (
        f"{result.model} on {result.dataset.name}, seed {result.seed}: {how}, {result.images_per_second:,.0f} images/s\n"
        f"test accuracy {result.accuracy_last:.2f} % ({test.correct_last} of {test.n} images, last epoch; "
        f"best epoch {result.accuracy_best:.2f} %)\n"
        f"{outcome.folder} ({tracked})"
    )


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)
