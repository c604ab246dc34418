"""`mgnet-train study`: which of the paper's orderings reappear on a small data set."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from mgnet_train.cli.options import add_execution, options_of, positive
from mgnet_train.errors import ExitCode

if TYPE_CHECKING:
    from mgnet_train.config.run_spec import RunSpec
    from mgnet_train.experiments.study import Arm


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "study",
        help="which orderings of the paper reappear on digits",
        description="Train all arms of a study, with seeds; the same command continues it. Then print what was found.",
    )
    parser.add_argument("name", nargs="?", default="digits", help="the study (%(default)s)")
    parser.add_argument("--seeds", type=positive, help="seeds of each arm (the study's own number)")
    parser.add_argument("--group", action="append", help="only this group of arms, as table1")
    parser.add_argument("--dry-run", action="store_true", help="list the runs and what is finished, train nothing")
    parser.add_argument("--report", type=Path, help="also write what was found to this JSON file")
    add_execution(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Work through the runs, then report."""
    from mgnet_train.experiments.study import find_study
    from mgnet_train.experiments.sweep import work_through
    from mgnet_train.provenance import current_commit
    from mgnet_train.study_report import report, write_report
    from mgnet_train.train.allocator import set_allocator
    from mgnet_train.train.distributed import start_processes

    study = find_study(arguments.name)
    processes = start_processes(arguments.device)
    commit, device = current_commit(), processes.device.type
    plan: list[tuple[Arm, list[RunSpec]]] = [
        (arm, study.specs(arm, seeds=arguments.seeds or study.seeds, commit=commit, device=device))
        for arm in study.arms
        if not arguments.group or arm.group in arguments.group
    ]
    failures = []
    if not arguments.dry_run:
        print(set_allocator(arguments.allocator))
        # Seed by seed, so that a study cut short has whole arms to compare.
        by_seed = [spec for specs in zip(*(specs for _, specs in plan)) for spec in specs]
        options = options_of(arguments, quiet=True)
        failures = work_through(by_seed, options, processes, lambda line: print(line, flush=True))
    found = report(study, plan, arguments.runs)
    print(found.text)
    if arguments.report:
        write_report(found, arguments.report)
    return ExitCode.FAILED if failures else ExitCode.DONE
