"""`mgnet-train reproduce`: train the rows of a table and print reported against measured."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mgnet_records.errors import ExitCode, InputError
from mgnet_train.cli.options import (
    add_recipe_fields,
    add_run_options,
    execution_of,
    options_of,
    positive,
    recipe_overrides,
)

if TYPE_CHECKING:
    from mgnet_records.provenance import CodeState
    from mgnet_train.config.run_spec import RunSpec

_ONLY_HERE = ("--sbatch", "--submitit", "--sbatch-arg")


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "reproduce",
        help="train the rows of a table of the paper and compare",
        description="Train a part of the paper, every seed of every row, skipping what is finished, then print reported against "
        "measured. Start it several times, on one machine or many, and the starts share the work.",
    )
    parser.add_argument("target", help="v2, v2/table3, or a row as v2/table3/resnet18_A-B/cifar10")
    parser.add_argument("--recipe", help="the version's own by default")
    parser.add_argument("--seeds", type=positive, default=1, help="seeds of each row (%(default)s)")
    parser.add_argument("--dry-run", action="store_true", help="print the plan and its cost, train nothing")
    parser.add_argument("--rate", type=float, help="multiply-adds a second you expect, to see hours in the plan")
    parser.add_argument("--sbatch", type=positive, metavar="TASKS", help="print a Slurm array script of so many tasks")
    parser.add_argument("--submitit", type=positive, metavar="TASKS", help="submit so many tasks (needs mgnet-train[slurm])")
    parser.add_argument(
        "--commit",
        metavar="STATE",
        help="reject the start when the code is in another state than this commit, or COMMIT+dirty; tasks of a cluster get that of "
        "their submission, since runs of another commit are other runs",
    )
    parser.add_argument(
        "--sbatch-arg",
        action="append",
        default=[],
        metavar="--NAME=VALUE",
        help="a further option of sbatch, any number of times, as --sbatch-arg --partition=gpu --sbatch-arg --gres=gpu:1; it "
        "replaces the script's own",
    )
    add_run_options(parser)
    add_recipe_fields(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Plan, then train here or elsewhere, then compare."""
    from mgnet_train.config.run_spec import current_code
    from mgnet_train.data.loading import reject_useless_source
    from mgnet_train.experiments.launch import array_script, checked_options, submit
    from mgnet_train.experiments.reproduce import distinct_runs, plan, plan_lines, table_lines
    from mgnet_train.runs.lock import require_shared_locks
    from mgnet_train.train.distributed import choose_device

    options = checked_options([option or "--" for option in arguments.sbatch_arg])  # argparse makes [] of a value "--"
    if options and not (arguments.sbatch or arguments.submitit):
        raise InputError("--sbatch-arg is for what goes to Slurm: give --sbatch TASKS or --submitit TASKS too")
    code = current_code()
    if arguments.commit not in (None, _named(code)):
        raise InputError(
            f"the code is at {_named(code)} and --commit says {arguments.commit}, so these would be other runs: check out that "
            "state, or submit again"
        )
    planned = plan(
        arguments.target,
        recipe=arguments.recipe,
        overrides=recipe_overrides(arguments),
        seeds=arguments.seeds,
        code=code,
        device=choose_device(arguments.device, None).type,
        execution=execution_of(arguments),
    )
    runs = distinct_runs(planned)
    reject_useless_source(arguments.source, [spec.dataset for spec in runs])
    tasks = min(arguments.sbatch or arguments.submitit or 1, len(runs))
    if tasks > 1:
        require_shared_locks(arguments.runs)
    needs = {"cpus": arguments.workers + 1, "gpu": arguments.device != "cpu", "options": options}
    if arguments.sbatch:
        script = array_script(_task_command(arguments, code), tasks=tasks, folder=Path.cwd(), **needs)
        sys.stdout.buffer.write(os.fsencode(script + "\n"))  # a path need not be text
        return ExitCode.DONE
    print("\n".join(plan_lines(planned, arguments.runs, rate=arguments.rate)), flush=True)
    if arguments.dry_run:
        return ExitCode.DONE
    if arguments.submitit:
        submit(_task_command(arguments, code), tasks=tasks, folder=arguments.runs / "submitit", **needs)
        print(f"submitted {tasks} tasks; watch them with `mgnet-train status --runs {arguments.runs}`")
        return ExitCode.DONE
    failed = _on_every_gpu(arguments) or _here(arguments, runs)
    print("\n".join(table_lines(planned, arguments.runs)))
    return ExitCode.FAILED if failed else ExitCode.DONE


def _here(arguments: argparse.Namespace, specs: list[RunSpec]) -> bool:
    from mgnet_train.experiments.sweep import run_all
    from mgnet_train.runs.progress import say
    from mgnet_train.train.distributed import start_processes

    processes = start_processes(arguments.device)
    return bool(run_all(specs, options_of(arguments, quiet=True), processes, say))


def _on_every_gpu(arguments: argparse.Namespace) -> bool:
    """With several GPUs, one process for each, all on the same list of runs. Whether any of them failed."""
    import torch

    if arguments.device != "auto" or torch.cuda.device_count() < 2:
        return False
    from mgnet_train.experiments.launch import run_in_parallel

    return any(run_in_parallel([[*_own_command(arguments), "--device", f"cuda:{i}"] for i in range(torch.cuda.device_count())]))


def _task_command(arguments: argparse.Namespace, code: CodeState) -> list[str]:
    """This command for a task of a cluster: with the state of the code, and with the workers that its processors are for."""
    command = _own_command(arguments)
    given = {word.partition("=")[0] for word in command}
    for option, value in (("--workers", str(arguments.workers)), ("--commit", _named(code))):
        command += [] if option in given else [option, value]
    return command


def _named(code: CodeState) -> str:
    return "unknown" if code.sha is None else code.sha + ("+dirty" if code.dirty else "")


def _own_command(arguments: argparse.Namespace) -> list[str]:
    """This command again, without what was only for this start."""
    kept, skip = [], False
    for word in arguments.words:
        if skip:
            skip = False
        elif word in _ONLY_HERE:
            skip = True
        elif word.partition("=")[0] not in _ONLY_HERE:
            kept.append(word)
    return [os.path.abspath(sys.executable), "-m", "mgnet_train", *kept]
