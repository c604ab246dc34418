"""`mgnet-train status`: what each run is doing."""

from __future__ import annotations

import argparse
from pathlib import Path

from mgnet_records.errors import ExitCode


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser("status", help="what each run is doing", description="One line for each run folder.")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of all runs (%(default)s)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """List the runs."""
    from mgnet_records.errors import InputError
    from mgnet_train.runs.folder import CONFIG, STATE, read_json
    from mgnet_train.runs.result import read_result
    from mgnet_train.tracking.uploader import unsent

    folders = sorted(path.parent for path in arguments.runs.glob(f"*/{CONFIG}"))
    for folder in folders:
        state = read_json(folder / STATE)
        try:
            result = read_result(folder)
            shown = f"{result.accuracy_last:.2f} %" if result else f"epoch {state.get('epoch', 0)} {state.get('message', '')}"
        except InputError as error:
            shown = str(error)
        waiting = ", not all in MLflow" if unsent(folder) else ""
        print(f"{_status(folder, state):12s} {folder.name}  {shown}{waiting}")
    if not folders:
        print(f"no runs in {arguments.runs}: begin with `mgnet-train fit`")
    return ExitCode.DONE


def _status(folder: Path, state: dict[str, object]) -> str:
    from mgnet_train.runs.lock import is_locked

    status = str(state.get("status", "new"))
    return "interrupted" if status == "running" and not is_locked(folder) else status
