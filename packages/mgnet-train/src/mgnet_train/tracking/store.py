"""MLflow, asked through a child process: it may hang, die or wait for a server, and this process goes on after a deadline.

The child (`mgnet_train.tracking.worker`) has MLflow's own client, so addresses, credentials, TLS and time-outs are as MLflow
has them. The two exchange JSON lines over the child's standard input and output. An address is never an argument, which
everybody on the machine could read.
"""

from __future__ import annotations

import json
import os
import select
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from mgnet_records.addresses import without_secrets
from mgnet_records.errors import InputError
from mgnet_train.tracking.uri import DATABASE, VARIABLE, is_default, store_name, store_uri

LINK = "mlflow.json"  # in a run folder; names the run of MLflow and its store
START_SECONDS = 300.0  # to import MLflow on a busy machine
CHECK_SECONDS = 60.0
# MLflow gives up a request by itself after 8 tries of 2 minutes and 4 minutes of pauses, unless its variables say otherwise.
CALL_SECONDS = 1800.0


class StoreError(InputError):
    """MLflow or its store refused, in one line without secrets."""


class NoAnswerError(StoreError):
    """The store did not answer before the deadline, or the child died."""


@dataclass(frozen=True, kw_only=True)
class Sent:
    """What MLflow has of a run folder: its run, and the journal up to a byte, where `has_ended` a start of the run ended."""

    run_id: str
    bytes: int
    has_ended: bool = False


class Store:
    """The store of a folder of runs. The child starts at the first question, and again after it was given up.

    `call_seconds` is the longest time for one call of the store, such as one batch of metrics or one file. `say` gets
    what a person should read, `log` what MLflow prints.
    """

    def __init__(
        self, runs: Path, *, say: Callable[[str], None] = print, log: BinaryIO | None = None, call_seconds: float = CALL_SECONDS
    ) -> None:
        self._runs, self._say, self._call_seconds = runs, say, call_seconds
        self._is_own_log = log is None
        self._has_own_log = log is None
        self._log: BinaryIO = log or tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as this object
        self._process: subprocess.Popen[bytes] | None = None
        self._unread = b""

    def __enter__(self) -> Store:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
        if self._has_own_log:
            self._log.close()

    def check(self, *, seconds: float = CHECK_SECONDS) -> bool:
        """Whether the store has pages of its own, as a server has. Raises StoreError when it cannot be used."""
        return bool(self._ask({"check": str(self._runs)}, seconds)["has_pages"])

    def send(self, folder: Path, sent: Sent | None) -> Sent | None:
        """Send what the journal has behind `sent`, and say what MLflow has now; None when there is nothing. Raises StoreError."""
        request = {"send": str(folder), "sent": None if sent is None else asdict(sent)}
        answer = self._ask(request, self._call_seconds)["sent"]
        return None if answer is None else Sent(**answer)

    def close(self) -> None:
        """End the child for good; what it was doing is given up."""
        self._end_child()
        if self._is_own_log:
            self._log.close()

    def _end_child(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    with suppress(OSError):
                        pipe.close()
            self._process = None

    def _ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        process = self._process
        if process is None or process.poll() is not None:
            process = self._start()
        assert process.stdin is not None
        with suppress(OSError):  # the child has died: the answer says so
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
        answer = self._answer(seconds)
        if "error" in answer:
            raise StoreError(answer["error"])
        return answer

    def _start(self) -> subprocess.Popen[bytes]:
        self._end_child()
        self._unread = b""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "mgnet_train.tracking.worker", str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            start_new_session=True,  # a Ctrl-C in the terminal is for this process
        )
        self._answer(START_SECONDS)
        return self._process

    def _answer(self, seconds: float) -> dict[str, Any]:
        """The child's answer; each sign of life before it gives the child as many seconds again."""
        while True:
            line = self._line(seconds)
            if line is None:
                self._end_child()
                raise NoAnswerError(f"no answer within {seconds:g} s")
            if not line:
                self._end_child()
                raise NoAnswerError(f"MLflow's process died: {self._last_words()}")
            answer: dict[str, Any] = json.loads(line)
            if "alive" not in answer:
                return answer
            if answer["alive"] is not None:
                self._say(answer["alive"])

    def _line(self, seconds: float) -> bytes | None:
        """The next line of the child, empty when it has died, None when it takes longer."""
        assert self._process is not None
        assert self._process.stdout is not None
        pipe, deadline = self._process.stdout.fileno(), time.monotonic() + seconds
        while b"\n" not in self._unread:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([pipe], [], [], left)[0]:
                return None
            received = os.read(pipe, 1 << 16)
            if not received:
                return b""
            self._unread += received
        line, self._unread = self._unread.split(b"\n", 1)
        return line

    def _last_words(self) -> str:
        try:
            self._log.seek(0)
            lines = self._log.read().decode(errors="replace").split("\n")
        except (OSError, ValueError):  # a log that is written only
            return "its log says why"
        last = next((line for line in reversed(lines) if line.strip()), "without a word")
        return without_secrets(last, store_uri(self._runs))[:400]


def check_store(runs: Path, *, seconds: float = CHECK_SECONDS) -> None:
    """Raise InputError, in one line, when the store that the environment names cannot be used.

    Of the default database only what a damaged file would say is asked, without MLflow, whose import takes seconds.
    """
    if is_default():
        _check_default(runs)
        return
    with Store(runs) as store:
        try:
            store.check(seconds=seconds)
        except StoreError as error:
            raise unreachable(runs, error, "or pass --allow-unreachable-store to train now and send later") from None


def _check_default(runs: Path) -> None:
    path = runs / DATABASE
    try:
        if path.exists():
            with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
                connection.execute("PRAGMA schema_version")
    except sqlite3.OperationalError:
        return  # locked for a moment: other runs write to it
    except sqlite3.DatabaseError as error:
        raise InputError(f"MLflow store {str(path)!r} is damaged ({error}): restore it, or move it away and use sync") from None


def unreachable(runs: Path, error: StoreError, fix: str) -> InputError:
    """The line for a store that cannot be used."""
    return InputError(f"MLflow store {store_name(runs)!r} cannot be used ({error}): start it, correct or unset {VARIABLE}, {fix}")
