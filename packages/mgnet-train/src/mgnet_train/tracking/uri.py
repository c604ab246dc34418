"""Where MLflow keeps the runs, and whether it can be reached: questions answered without importing mlflow."""

from __future__ import annotations

import os
import socket
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from mgnet_records.errors import InputError

VARIABLE = "MLFLOW_TRACKING_URI"
_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
_SECONDS = 3.0


def store_uri(runs: Path) -> str:
    """The store that MLflow's standard variable names, else an sqlite file in the folder of runs."""
    return os.environ.get(VARIABLE) or f"sqlite:///{runs.resolve() / 'mlflow.db'}"


def check_store(uri: str) -> None:
    """Raise InputError, in one line, when the store cannot be reached or is of a kind MLflow no longer supports."""
    parts = urlsplit(uri)
    scheme = parts.scheme.split("+")[0]
    if scheme in ("http", "https"):
        _check_server(uri)
    elif scheme == "sqlite":
        _check_sqlite(uri)
    elif scheme in _PORTS:
        _check_port(uri, parts.hostname or "localhost", parts.port or _PORTS[scheme])
    elif scheme not in ("databricks", "databricks-uc"):
        raise _unreachable(uri, "MLflow keeps runs in a server or a database, not in a folder")


def _check_server(uri: str) -> None:
    try:
        with urllib.request.urlopen(uri.rstrip("/") + "/health", timeout=_SECONDS):
            return
    except urllib.error.HTTPError:
        return  # something answers: a proxy may hide /health or require a login that mlflow will give
    except (OSError, ValueError) as error:
        raise _unreachable(uri, str(getattr(error, "reason", error))) from None


def _check_sqlite(uri: str) -> None:
    path = Path(uri.split("///", 1)[-1])
    try:
        if path.exists() and path.stat().st_size:
            with open(path, "rb") as file:
                if file.read(15) != b"SQLite format 3":
                    raise _unreachable(uri, "the file is no sqlite database")
        folder = path.parent
        if not folder.is_dir() or not os.access(folder, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
            raise _unreachable(uri, f"{folder} is no folder that can be written")
    except OSError as error:
        raise _unreachable(uri, str(error.strerror)) from None


def _check_port(uri: str, host: str, port: int) -> None:
    try:
        socket.create_connection((host, port), timeout=_SECONDS).close()
    except OSError as error:
        raise _unreachable(uri, str(error)) from None


def _unreachable(uri: str, why: str) -> InputError:
    parts = urlsplit(uri)
    shown = uri.replace(f"{parts.username}:{parts.password}@", "") if parts.password else uri
    return InputError(
        f"MLflow store {shown!r} cannot be reached ({' '.join(why.split())}): start it, correct or unset {VARIABLE}, "
        "or pass --allow-unreachable-store to train now and send later"
    )
