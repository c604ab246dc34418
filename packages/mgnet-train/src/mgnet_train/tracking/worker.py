"""The child process that has MLflow's client: reads requests as JSON lines, answers in JSON lines, and ends with its parent.

Only this file, client.py and export.py import mlflow. What MLflow prints goes to standard error, without secrets.
"""

from __future__ import annotations

import io
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mgnet_records.addresses import without_secrets
from mgnet_train.runs.journal import JOURNAL, read_records
from mgnet_train.tracking.calls import in_one_line, quiet_mlflow
from mgnet_train.tracking.store import Sent
from mgnet_train.tracking.uri import store_uri


class Sender:
    """Sends run folders to the store that the environment names; keeps a run that is open until something fails."""

    def __init__(self, *, alive: Callable[[], None] = lambda: None, say: Callable[[str], None] = print) -> None:
        quiet_mlflow()
        self._alive, self._say = alive, say
        self._opened: dict[Path, Any] = {}

    def check(self, runs: Path) -> bool:
        """Whether the store has pages of its own. Raises what MLflow raises, and StoreError for a store that cannot keep runs."""
        from mlflow.utils.uri import is_databricks_uri, is_http_uri

        from mgnet_train.tracking.client import open_client, require_mlflow

        uri = store_uri(runs)
        require_mlflow(open_client(uri))
        return bool(is_http_uri(uri) or is_databricks_uri(uri))

    def send(self, folder: Path, sent: Sent | None) -> Sent | None:
        """Send what the journal has behind `sent`, or all of it to a run of MLflow that is another one. Raises anything."""
        from mgnet_train.tracking.client import MlflowRun

        run = self._opened.pop(folder, None) or MlflowRun(folder, store_uri(folder.parent), alive=self._alive, say=self._say)
        start = sent.bytes if sent is not None and sent.run_id == run.run_id else 0
        records, end = read_records(folder / JOURNAL, start)
        if records:
            _flush_to_disk(folder / JOURNAL)
            run.send(records)
        has_ended = bool(records) and records[-1].kind == "end"
        if not has_ended:
            self._opened[folder] = run
        return None if run.run_id is None else Sent(run_id=run.run_id, bytes=end, has_ended=has_ended)


def _flush_to_disk(path: Path) -> None:
    """What is sent must be on the disk: a step that a power cut takes from the journal is trained again, with another time."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())


class _WithoutSecrets(io.TextIOBase):
    """Standard output and standard error of the child: whole lines, without secrets."""

    def __init__(self, file: int) -> None:
        self._file, self._line = file, ""

    def write(self, text: str) -> int:
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            os.write(self._file, (without_secrets(line, store_uri(Path())) + "\n").encode(errors="backslashreplace"))
        return len(text)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._file


def main(parent: int) -> None:
    """Answer requests until the parent closes the pipe or is gone."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.stdout = sys.stderr = _WithoutSecrets(2)
    threading.Thread(target=_end_with, args=[parent], daemon=True).start()

    def tell(answer: dict[str, Any]) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    sender = Sender(alive=lambda: tell({"alive": None}), say=lambda line: tell({"alive": line}))
    import mlflow.tracking  # noqa: F401 - before the first deadline runs

    tell({"ready": True})
    for line in sys.stdin:
        request, place = json.loads(line), Path()
        try:
            if "check" in request:
                place = Path(request["check"])
                tell({"has_pages": sender.check(place)})
            else:
                folder, sent = Path(request["send"]), request["sent"]
                place = folder.parent
                done = sender.send(folder, None if sent is None else Sent(**sent))
                tell({"sent": None if done is None else asdict(done)})
        except Exception as error:  # MLflow, databases and servers raise many kinds
            tell({"error": in_one_line(error, store_uri(place))})


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


if __name__ == "__main__":
    main(int(sys.argv[1]))
