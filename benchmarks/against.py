"""Old against new code: each side is a process of its own that lives for the whole run and computes when it is asked.

The old code comes out of git into a temporary folder. The processes take turns, so that what slows a round down slows both.
"""

from __future__ import annotations

import importlib
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}


class Worker:
    """A process that answers questions, one JSON line each: `python -m MODULE --worker SIDE OPTIONS`."""

    def __init__(self, module: str, side: str, packages: list[Path] | None, options: list[str]) -> None:
        """`packages` replace the installed ones on Python's path; None leaves those."""
        path = {}
        if packages is not None:
            path = {"PYTHONPATH": os.pathsep.join(map(str, packages)), "XDG_CACHE_HOME": str(packages[0])}
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, "--worker", side, *options],
            cwd=ROOT,
            # Threads that wait sleep: else those of the side that waits would take cores from the side that is measured.
            env=os.environ | path | {"OMP_WAIT_POLICY": "passive"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, **question: object) -> Any:
        """The answer. Raises SystemExit where the process ended instead."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{' '.join(map(str, self._process.args))} ended while it was asked {question}")  # type: ignore[arg-type]
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


@contextmanager
def two_sides(module: str, commit: str, options: list[str]) -> Iterator[dict[str, Worker]]:
    """The workers "old" and "new" of a benchmark's module."""
    with tempfile.TemporaryDirectory() as folder:
        workers = {"old": Worker(module, "old", _take_out(commit, Path(folder)), options)}
        workers["new"] = Worker(module, "new", None, options)
        try:
            yield workers
        finally:
            for worker in workers.values():
                worker.close()


def _take_out(commit: str, folder: Path) -> list[Path]:
    """The packages of a commit, in a folder; returns what to put on the Python path."""
    archive = subprocess.run(["git", "archive", commit, "packages"], cwd=ROOT, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=BytesIO(archive)) as tar:
        tar.extractall(folder, filter="data")
    kernels = folder / "packages" / "mgnet-kernels"
    if kernels.is_dir():
        build = "import hatchling.build, sys; hatchling.build.build_editable(sys.argv[1])"
        subprocess.run([sys.executable, "-c", build, str(folder)], cwd=kernels, check=True, stdout=subprocess.DEVNULL)
    return sorted((folder / "packages").glob("*/src"))


def answers(answer: Callable[[dict[str, Any]], object]) -> None:
    """In a worker: answer each line of standard input, until it ends."""
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)


def keep_memory() -> None:
    """In a worker: freed memory is kept for the next step, as mgnet-train does, also in older trees of it."""
    try:
        allocator = importlib.import_module("mgnet_train.train.allocator")
    except ModuleNotFoundError:
        allocator = importlib.import_module("mgnet_train.allocator")
    allocator.set_allocator("keep")


def in_turns(names: list[Any], rounds: int) -> Iterator[tuple[int, Any]]:
    """(round, name): every second round backwards; round -1 warms up."""
    for number in range(-1, rounds):
        for name in names if number % 2 == 0 else reversed(names):
            yield number, name


def spread(values: list[float]) -> str:
    """Median, lowest and highest."""
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


def ratios(over: list[Mapping[str, float]], under: list[Mapping[str, float]], clock: str) -> list[float]:
    """Round by round."""
    return [a[clock] / b[clock] for a, b in zip(over, under)]
