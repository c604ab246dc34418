"""`mgnet-train sync`: send to MLflow what it does not have yet."""

from __future__ import annotations

import argparse
from pathlib import Path

from mgnet_records.errors import ExitCode


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "sync", help="send to MLflow what it does not have yet", description="Copy the journals of all runs to MLflow's store."
    )
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of all runs (%(default)s)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Send run after run; what fails for one is one line, and the others are sent. Exit 1 when something failed."""
    from mgnet_train.runs.integrity import run_folders
    from mgnet_train.runs.lock import exclusive
    from mgnet_train.tracking.uploader import LOCK, Uploader, unsent
    from mgnet_train.tracking.uri import check_store, store_uri

    folders = [folder for folder in run_folders(arguments.runs) if unsent(folder)]
    if folders:
        check_store(store_uri(arguments.runs))
    failed = 0
    for number, folder in enumerate(folders, start=1):
        place = f"[{number}/{len(folders)}] {folder.name}"
        try:
            with exclusive(folder / LOCK):
                Uploader(folder).send_new()
            print(place, flush=True)
        except Exception as error:  # of the store, which raises many kinds
            failed += 1
            print(f"{place}: FAILED, {' '.join(str(error).split())}", flush=True)
    if failed:
        print(f"MLflow lacks {failed} runs of {arguments.runs}: the same command tries again")
        return ExitCode.FAILED
    print(f"MLflow has all runs of {arguments.runs}")
    return ExitCode.DONE
