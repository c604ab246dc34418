"""`mgnet-train evaluate`: count the right answers of a checkpoint."""

from __future__ import annotations

import argparse
from pathlib import Path

from mgnet_train.cli.options import add_data_place
from mgnet_train.errors import ExitCode, UserError


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "evaluate", help="test a checkpoint", description="Count the right answers of a .safetensors checkpoint on the test images."
    )
    parser.add_argument("checkpoint", type=Path, help="model.safetensors of a run")
    parser.add_argument("--data", default="digits", help="digits, mnist, cifar10, cifar100 or imagenet (%(default)s)")
    add_data_place(parser)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (%(default)s)")
    parser.add_argument("--precision", choices=("exact", "fast"), default="exact", help="tier of arithmetic (%(default)s)")
    parser.add_argument("--strict", action="store_true", help="a damaged image is an error, not a wrong answer")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Load, test, print."""
    from mgnet_train.data.loading import refuse_useless_source
    from mgnet_train.runs.result import percent
    from mgnet_train.train.evaluation import evaluate_checkpoint

    refuse_useless_source(arguments.source, [arguments.data])
    found, damaged = evaluate_checkpoint(
        arguments.checkpoint,
        dataset=arguments.data,
        data_dir=arguments.data_dir,
        source=arguments.source,
        workers=arguments.workers,
        device=arguments.device,
        precision=arguments.precision,
    )
    if damaged and arguments.strict:
        raise UserError(f"{len(damaged)} damaged images, as {damaged[0]}: get them anew or leave out --strict")
    for path in damaged:
        print(f"damaged, counted as wrong: {path}")
    print(f"test accuracy {percent(found.correct, found.n):.2f} % ({found.correct} of {found.n} images), loss {found.loss:.4f}")
    return ExitCode.DONE
