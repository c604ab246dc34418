"""`mgnet-train ui`: MLflow's own pages over the runs, on this machine only."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import NoReturn

from mgnet_records.errors import ExitCode
from mgnet_train.cli.options import positive


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser("ui", help="MLflow's pages over the runs", description="Serve MLflow's pages on this machine.")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of all runs (%(default)s)")
    parser.add_argument("--port", type=positive, default=5000, help="port on 127.0.0.1 (%(default)s)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Become the server; of a store that is a server, say so."""
    from mgnet_train.tracking.store import Store, StoreError, unreachable
    from mgnet_train.tracking.uri import store_name, store_uri

    name = store_name(arguments.runs)
    with Store(arguments.runs) as store:
        try:
            has_pages = store.check()
        except StoreError as error:
            raise unreachable(arguments.runs, error, "then start ui again") from None
    if not has_pages:
        _become_server(store_uri(arguments.runs), name, arguments.port)
    print(f"{name} is a server with pages of its own: open it in a browser")
    return ExitCode.DONE


def _become_server(uri: str, name: str, port: int) -> NoReturn:
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"  # else MLflow starts seven more processes, of 2 GB
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # Not an argument: everybody on the machine can read those, and the address may hold a password.
    os.environ["MLFLOW_BACKEND_STORE_URI"] = uri
    print(f"serving {name} on http://127.0.0.1:{port} until Ctrl-C", flush=True)
    print("MLflow opens with its pages for language models: choose Model training at the top left, it is remembered", flush=True)
    server = ["server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    os.execv(sys.executable, [sys.executable, "-m", "mlflow", *server])
