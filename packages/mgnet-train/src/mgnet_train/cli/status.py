"""`mgnet-train status`: what each run is doing."""

from __future__ import annotations

import argparse
from pathlib import Path

from mgnet_records.errors import ExitCode

_DAMAGED = "damaged"


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser("status", help="what each run is doing", description="One line for each run folder.")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of all runs (%(default)s)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """List the runs; exit 1 when one of them is damaged."""
    from mgnet_train.runs.integrity import run_folders
    from mgnet_train.tracking.uploader import unsent

    folders = run_folders(arguments.runs)
    damaged = 0
    for folder in folders:
        status, shown = _described(folder)
        damaged += status == _DAMAGED
        waiting = ", not all in MLflow" if status != _DAMAGED and unsent(folder) else ""
        print(f"{status:12s} {folder.name}  {shown}{waiting}")
    if not folders:
        print(f"no runs in {arguments.runs}: begin with `mgnet-train fit`")
    return ExitCode.FAILED if damaged else ExitCode.DONE


def _described(folder: Path) -> tuple[str, str]:
    """The status of one run and what there is to say about it."""
    from mgnet_records.errors import InputError
    from mgnet_train.runs.folder import STATE, read_config, read_json
    from mgnet_train.runs.integrity import finished_fault, require_plain_files
    from mgnet_train.runs.journal import JOURNAL, read_records
    from mgnet_train.runs.result import read_result

    try:
        require_plain_files(folder)
        read_config(folder)
        read_records(folder / JOURNAL, 0)
        result = read_result(folder)
        if result is not None:
            fault = finished_fault(folder, result, weights=False)
            return (_DAMAGED, fault) if fault else ("finished", f"{result.accuracy_last:.2f} %")
    except InputError as error:
        return _DAMAGED, str(error)
    state = read_json(folder / STATE)
    return _status(folder, state), f"epoch {state.get('epoch', 0)} {state.get('message', '')}"


def _status(folder: Path, state: dict[str, object]) -> str:
    from mgnet_train.runs.lock import is_locked

    # A state that is missing or was damaged says nothing: whether the run goes on is known from its lock.
    status = str(state.get("status", "running"))
    return "interrupted" if status in ("running", "finished") and not is_locked(folder) else status
