"""`mgnet-train evaluate`: the accuracy of a checkpoint on test images."""

from __future__ import annotations

import argparse
from pathlib import Path

from mgnet_records.datasets import DATA_SETS
from mgnet_records.errors import ExitCode, InputError
from mgnet_train.cli.options import add_data_options, add_execution_options, execution_of


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "evaluate",
        help="test a checkpoint",
        description="Count the correct answers of trained weights on the test images.",
    )
    parser.add_argument("checkpoint", type=Path, help="a run folder, or its model.safetensors")
    parser.add_argument("--data", help=f"{', '.join(DATA_SETS)}; default: what the run was trained on")
    add_data_options(parser)
    add_execution_options(parser, only=("precision", "layout", "convolution"))
    parser.set_defaults(precision="deterministic")
    parser.add_argument("--strict", action="store_true", help="a corrupt image is an error, not a wrong answer")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Load, test, print."""
    from mgnet_records.run_result import percent
    from mgnet_train.data.loading import reject_useless_source
    from mgnet_train.runs.weights import dataset_of, weights_file
    from mgnet_train.train.evaluation import evaluate_checkpoint

    checkpoint = weights_file(arguments.checkpoint)
    dataset = dataset_of(checkpoint, arguments.data)
    reject_useless_source(arguments.source, [dataset])
    found, corrupt = evaluate_checkpoint(
        checkpoint,
        dataset=dataset,
        data_dir=arguments.data_dir,
        source=arguments.source,
        workers=arguments.workers,
        device=arguments.device,
        execution=execution_of(arguments),
    )
    if corrupt and arguments.strict:
        raise InputError(f"{len(corrupt)} corrupt images, such as {corrupt[0]}: get them again or leave out --strict")
    for location in corrupt:
        print(f"corrupt, counted as wrong: {location}")
    print(
        f"test accuracy on {dataset}: {percent(found.correct, found.n):.2f} % ({found.correct} of {found.n} images), "
        f"top-5 {percent(found.correct_top5, found.n):.2f} %, loss {found.loss:.4f}"
    )
    return ExitCode.DONE
