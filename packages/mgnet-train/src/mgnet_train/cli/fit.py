"""`mgnet-train fit`: train one network, or resume it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from mgnet_records.datasets import DATA_SETS
from mgnet_records.errors import ExitCode
from mgnet_train.cli.options import (
    add_recipe_fields,
    add_run_options,
    execution_of,
    model_argument,
    model_arguments,
    options_of,
    recipe_overrides,
)
from mgnet_train.config.recipes import REASONS

if TYPE_CHECKING:
    from mgnet_train.runs.run import Outcome

DEFAULT_MODEL = "mgnet_2_2_c32_bl"


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "fit",
        help="train one network, or resume it",
        description="Train one network. The same command again resumes it from its last checkpoint or shows its result.",
        epilog="Exit codes: 0 done, 2 bad input, 66 no data, 70 loss not finite, 73 being trained by another process, "
        "75 stopped by a signal and resumable, 1 anything else.",
    )
    parser.add_argument("model", nargs="?", default=DEFAULT_MODEL, help="timm name or MgNet[2,2]-[32]-B^l (%(default)s)")
    parser.add_argument(
        "--model-arg", type=model_argument, action="append", default=[], metavar="KEY=JSON", help="an argument of the model"
    )
    parser.add_argument("--data", default="digits", help=f"{', '.join(DATA_SETS)} (%(default)s)")
    parser.add_argument("--recipe", help=f"{', '.join(REASONS)}; default by data set")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights, order and augmentation (%(default)s)")
    add_run_options(parser)
    add_recipe_fields(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Check, train, print the result."""
    from mgnet_train.config.run_spec import make_spec
    from mgnet_train.data.loading import reject_useless_source
    from mgnet_train.runs.progress import say
    from mgnet_train.runs.run import fit
    from mgnet_train.train.allocator import set_allocator
    from mgnet_train.train.distributed import start_processes

    reject_useless_source(arguments.source, [arguments.data])
    allocator = set_allocator(arguments.allocator)
    processes = start_processes(arguments.device)
    try:
        spec = make_spec(
            arguments.model,
            dataset=arguments.data,
            recipe=arguments.recipe,
            overrides=recipe_overrides(arguments),
            seed=arguments.seed,
            device=processes.device.type,
            execution=execution_of(arguments),
            model_args=model_arguments(arguments),
        )
        notes = [allocator]
        if spec.code.dirty:
            notes.append("the code has changes that are not committed (see git status): no leaderboard takes the result")
        outcome = fit(spec, options_of(arguments, notes=tuple(notes)), processes)
        if processes.is_main:
            say(_report(outcome))
    finally:
        processes.close()
    return ExitCode.DONE


def _report(outcome: Outcome) -> str:
    result, test = outcome.result, outcome.result.test
    how = "finished before" if outcome.was_finished else f"trained in {result.train_seconds:.1f} s"
    top5 = "" if result.accuracy_top5 is None else f"; top-5 {result.accuracy_top5:.2f} %"
    tracked = "MLflow has it" if outcome.is_sent else "MLflow does not have all of it yet: run `mgnet-train sync`"
    return (
        f"{result.model} on {result.dataset.name}, seed {result.seed}: {how}, {result.images_per_second:,.0f} images/s\n"
        f"test accuracy {result.accuracy_last:.2f} % ({test.correct_last} of {test.n} images, last epoch; "
        f"best epoch {result.accuracy_best:.2f} %{top5})\n"
        f"{outcome.folder} ({tracked})"
    )
