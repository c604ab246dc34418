"""`mgnet-train study`: train the runs of a study. What they say is `mgnet-leaderboard study`."""

from __future__ import annotations

import argparse

from mgnet_records.errors import ExitCode
from mgnet_train.cli.options import add_run_options, execution_of, options_of, positive


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "study",
        help="train the variants of a study, over seeds",
        description="Train all variants of a study, with seeds; the same command continues it. Then print what comes next.",
    )
    parser.add_argument("name", nargs="?", default="digits", help="the study (%(default)s)")
    parser.add_argument("--seeds", type=positive, help="seeds of each variant (the study's own number)")
    parser.add_argument("--group", action="append", help="only this group of variants, such as table1")
    parser.add_argument("--dry-run", action="store_true", help="list the runs and what is finished, train nothing")
    add_run_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Work through the runs; exit 1 when one of them failed."""
    from mgnet_train.config.run_spec import current_code
    from mgnet_train.experiments.study import find_study
    from mgnet_train.experiments.sweep import finished_results, run_all
    from mgnet_train.runs.progress import say
    from mgnet_train.train.allocator import set_allocator
    from mgnet_train.train.distributed import start_processes

    study = find_study(arguments.name)
    processes = start_processes(arguments.device)
    specs = study.plan(
        groups=arguments.group,
        seeds=arguments.seeds,
        code=current_code(),
        device=processes.device.type,
        execution=execution_of(arguments),
    )
    failures = []
    if arguments.dry_run:
        for spec in specs:
            print(f"{'done' if finished_results([spec], arguments.runs) else 'todo'}  {spec.folder_name}")
    else:
        print(set_allocator(arguments.allocator))
        failures = run_all(specs, options_of(arguments, quiet=True), processes, say)
    finished = len(finished_results(specs, arguments.runs))
    print(f"study {study.name}: {finished} of {len(specs)} runs are finished, in {arguments.runs}")
    if finished:
        print(f"next: mgnet-leaderboard ingest {arguments.runs}   (their results as records)")
        print("then: mgnet-leaderboard study   (intervals, tests and the report)")
    return ExitCode.FAILED if failures else ExitCode.DONE
