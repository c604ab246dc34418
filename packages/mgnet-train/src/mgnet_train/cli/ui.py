"""`mgnet-train ui`: MLflow's own pages over the runs, on this machine only."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from mgnet_train.cli.options import positive


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser("ui", help="MLflow's pages over the runs", description="Serve MLflow's pages on this machine.")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of all runs (%(default)s)")
    parser.add_argument("--port", type=positive, default=5000, help="port on 127.0.0.1 (%(default)s)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Become the server."""
    from mgnet_train.tracking.uri import check_store, store_uri

    uri = store_uri(arguments.runs)
    check_store(uri)
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"  # else MLflow starts seven more processes, of 2 GB
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    server = ["server", "--backend-store-uri", uri, "--host", "127.0.0.1", "--port", str(arguments.port), "--workers", "1"]
    print(f"serving {uri} on http://127.0.0.1:{arguments.port} until Ctrl-C", flush=True)
    print("MLflow opens with its pages for language models: choose Model training at the top left, it is remembered", flush=True)
    os.execv(sys.executable, [sys.executable, "-m", "mlflow", *server])
