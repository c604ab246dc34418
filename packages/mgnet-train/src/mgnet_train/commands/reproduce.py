"""`mgnet-train reproduce`: train the rows of a table and print reported against measured."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from typing import TYPE_CHECKING

from mgnet_train.commands.options import add_execution, add_recipe_fields, options_of, positive, recipe_overrides
from mgnet_train.errors import ExitCode, UserError

if TYPE_CHECKING:
    from mgnet_train.settings import RunSpec


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
    add_execution(parser)
    add_recipe_fields(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Plan, then train here or elsewhere, then compare."""
    from mgnet_train.plan import distinct_runs, plan
    from mgnet_train.processes import choose_device
    from mgnet_train.provenance import current_commit
    from mgnet_train.reproduction import array_script, plan_lines, table_lines

    planned = plan(
        arguments.target,
        recipe=arguments.recipe,
        overrides=recipe_overrides(arguments),
        seeds=arguments.seeds,
        commit=current_commit(),
        device=choose_device(arguments.device, None).type,
    )
    if arguments.sbatch:
        print(array_script(distinct_runs(planned), _own_command(), workers=arguments.sbatch))
        return ExitCode.DONE
    print("\n".join(plan_lines(planned, arguments.runs, rate=arguments.rate)), flush=True)
    if arguments.dry_run:
        return ExitCode.DONE
    if arguments.submitit:
        _submit(arguments.submitit, arguments)
        return ExitCode.DONE
    failed = _on_every_gpu(arguments) or _here(arguments, distinct_runs(planned))
    print("\n".join(table_lines(planned, arguments.runs)))
    return ExitCode.FAILED if failed else ExitCode.DONE


def _here(arguments: argparse.Namespace, specs: list[RunSpec]) -> bool:
    from mgnet_train.campaign import work_through
    from mgnet_train.processes import start_processes

    processes = start_processes(arguments.device)
    return bool(work_through(specs, options_of(arguments, quiet=True), processes, lambda line: print(line, flush=True)))


def _on_every_gpu(arguments: argparse.Namespace) -> bool:
    """With several GPUs, one process for each, all working through the same list. Whether any of them failed."""
    import torch

    if arguments.device != "auto" or torch.cuda.device_count() < 2:
        return False
    others = [
        subprocess.Popen([*_own_command(), "--device", f"cuda:{index}"], stdout=subprocess.DEVNULL)
        for index in range(torch.cuda.device_count())
    ]
    codes = [other.wait() for other in others]
    return any(codes)


def _submit(tasks: int, arguments: argparse.Namespace) -> None:
    try:
        import submitit
    except ImportError:
        raise UserError("--submitit needs the package submitit: install mgnet-train[slurm], or use --sbatch") from None
    executor = submitit.AutoExecutor(folder=arguments.runs / "submitit")
    executor.update_parameters(name="mgnet", timeout_min=24 * 60, slurm_gpus_per_task=1, slurm_signal_delay_s=120)
    with executor.batch():
        jobs = [executor.submit(subprocess.check_call, _own_command()) for _ in range(tasks)]
    print(f"submitted {len(jobs)} tasks; watch them with `mgnet-train status --runs {arguments.runs}`")


def _own_command() -> list[str]:
    """This command again, without what was only for this start."""
    kept, skip = [], False
    for part in sys.argv[1:]:
        if skip:
            skip = False
        elif part in ("--sbatch", "--submitit"):
            skip = True
        elif not part.startswith(("--sbatch=", "--submitit=")):
            kept.append(part)
    return [os.path.abspath(sys.executable), "-m", "mgnet_train", *kept]
