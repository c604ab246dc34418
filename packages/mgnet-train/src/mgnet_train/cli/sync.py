"""`mgnet-train sync`: send to MLflow what it does not have yet."""

from __future__ import annotations

import argparse
from pathlib import Path

from mgnet_records.errors import ExitCode
from mgnet_train.cli.options import positive


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "sync", help="send to MLflow what it does not have yet", description="Copy the journals of all runs to MLflow's store."
    )
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of all runs (%(default)s)")
    parser.add_argument(
        "--call-seconds",
        type=positive,
        default=1800,
        help="give up a run when one call of the store, such as one file, takes longer (%(default)s)",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Send run after run; what fails for one is one line, and the others are sent. Exit 1 when something failed."""
    from mgnet_train.runs.integrity import run_folders
    from mgnet_train.runs.journal import JOURNAL
    from mgnet_train.tracking.store import Store, StoreError, unreachable
    from mgnet_train.tracking.uploader import sync_all, unsent
    from mgnet_train.tracking.uri import store_name

    def say(line: str) -> None:
        print(line, flush=True)

    # Also those that seem to be sent: MLflow is asked whether it has them.
    folders = [folder for folder in run_folders(arguments.runs) if unsent(folder) or (folder / JOURNAL).exists()]
    failed = 0
    if folders:
        with Store(arguments.runs, say=say, call_seconds=arguments.call_seconds) as store:
            try:
                store.check()
            except StoreError as error:
                raise unreachable(arguments.runs, error, "or sync later: the runs keep all") from None
            failed = sync_all(folders, store, say)
    if failed:
        print(f"MLflow lacks {failed} of {len(folders)} runs of {arguments.runs}: the same command tries again")
        return ExitCode.FAILED
    print(f"MLflow ({store_name(arguments.runs)}) has all runs of {arguments.runs}: {len(folders)}")
    return ExitCode.DONE
