"""How MLflow's client is called in the child process: its time-outs and retries, its errors in one line, its chatter."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mgnet_records.addresses import without_secrets
from mgnet_records.errors import InputError

# What a person sets wins over what is set here.
_FIRST_CONTACT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_DATABRICKS_ENDPOINT_HTTP_RETRY_TIMEOUT": "10",
}
_LONGEST_LINE = 600


@contextmanager
def first_contact() -> Iterator[None]:
    """MLflow's client without retries and with a short time-out: a store that is not there is noticed within seconds."""
    with _variables(_FIRST_CONTACT):
        yield


@contextmanager
def once() -> Iterator[None]:
    """MLflow's client without retries: what is made twice would be there twice. The next attempt looks for it first."""
    with _variables({"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}, override=True):
        yield


@contextmanager
def _variables(values: dict[str, str], *, override: bool = False) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update({name: value for name, value in values.items() if override or before[name] is None})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def in_one_line(error: BaseException, uri: str) -> str:
    """An error of MLflow, a database or a server as one line without secrets."""
    name, text = type(error).__name__, " ".join(str(error).split())
    line = without_secrets(text if isinstance(error, InputError) else f"{name}: {text}" if text else name, uri)
    if len(line) <= _LONGEST_LINE:
        return line
    return f"{line[: _LONGEST_LINE // 2]} ... {line[-_LONGEST_LINE // 2 :]}"  # the reason is often at the end


def quiet_mlflow() -> None:
    """No telemetry, no chatter. Must come before the first import of mlflow."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow").setLevel(logging.WARNING)


class Watched:
    """MLflow's client; after each of its calls somebody is told that it answered."""

    def __init__(self, client: Any, alive: Callable[[], None]) -> None:
        self._client, self._alive = client, alive

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def watched(*arguments: Any, **options: Any) -> Any:
            answer = method(*arguments, **options)
            self._alive()
            return answer

        return watched
