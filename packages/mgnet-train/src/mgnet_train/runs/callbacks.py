"""What happens around a training: the journal, checkpoints when due, stop requests, progress, the load of the machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from mgnet_records.errors import InputError
from mgnet_train.errors import StoppedError
from mgnet_train.runs.checkpoint import Checkpoints
from mgnet_train.runs.folder import write_state
from mgnet_train.runs.journal import Journal
from mgnet_train.runs.progress import Progress
from mgnet_train.runs.signals import StopRequest
from mgnet_train.train.distributed import Processes
from mgnet_train.train.trainer import Trainer

try:
    import psutil  # type: ignore[import-untyped]
except ImportError:
    psutil = None  # the extra `system-metrics`

_MOST_FAILED_SAVES = 5
_MEGABYTE = 1e6


class RunCallbacks:
    """What a trainer calls between its steps. On processes other than the main one, `journal` is None and nothing is written.

    `seconds` is the longest time between two checkpoints. `keep` gives what a checkpoint holds beside the trainer's state.
    """

    def __init__(
        self,
        folder: Path,
        *,
        checkpoints: Checkpoints,
        journal: Journal | None,
        progress: Progress,
        stop: StopRequest,
        processes: Processes,
        seconds: float,
        keep: Callable[[], dict[str, Any]],
    ) -> None:
        self._folder, self._checkpoints, self._journal, self._progress = folder, checkpoints, journal, progress
        self._stop, self._processes, self._seconds, self._keep = stop, processes, seconds, keep
        self._reported_files = set[str]()
        self._last_save = time.monotonic()
        self._load = MachineLoad()
        self.failed_saves = 0

    def log(self, kind: str, step: int, metrics: dict[str, float]) -> None:
        """Write metrics to the journal; those of an epoch are also printed."""
        if self._journal is None:
            return
        if kind == "epoch":
            metrics = metrics | {"system/failed_checkpoints": float(self.failed_saves)} | self._load.read()
            self._progress.say(_epoch_line(step, metrics))
            write_state(self._folder, "running", epoch=step)
        self._journal.log(kind, step, metrics)

    def report_corrupt_files(self, files: set[str]) -> None:
        """Print the corrupt files that any process has met and that were not printed before. All processes must call this."""
        new = self._processes.union(files) - self._reported_files
        for file in sorted(new):
            self._progress.say(f"corrupt image: {file}")
        self._reported_files |= new

    def poll(self, trainer: Trainer, *, in_test: bool) -> None:
        """Save when it is time; after a signal, save and raise StoppedError. An evaluation is aborted, and repeated on resume."""
        due = time.monotonic() - self._last_save > self._seconds
        # One process's signal or clock decides for all: a checkpoint needs every process.
        stop, due = self._processes.any_true(self._stop.asked, due and not in_test)
        if stop:
            if not in_test:
                self.save(trainer)
            saved = "its last steps could not be saved, the same command computes them again" if self.failed_saves else "saved"
            raise StoppedError(f"stopped by a signal in epoch {trainer.epoch + 1}, {saved}; the same command goes on")
        if due:
            self.save(trainer)

    def save(self, trainer: Trainer) -> None:
        """Write a checkpoint. A failure is counted and reported; after several in a row the run stops with InputError."""
        state = trainer.state_dict()
        self._last_save = time.monotonic()
        if self._journal is None:
            return
        try:
            self._journal.sync()  # first, so that the journal is never behind a checkpoint
            self._checkpoints.save({**state, **self._keep()})
            self.failed_saves = 0
        except OSError as error:
            self.failed_saves += 1
            self._progress.say(f"checkpoint not saved ({error.strerror}), training goes on; the one before is kept")
            if self.failed_saves >= _MOST_FAILED_SAVES:
                raise InputError(
                    f"{self.failed_saves} checkpoints in a row could not be saved in {self._folder} ({error.strerror}): "
                    "make room and start again, the last good one is kept"
                ) from None

    def advance(self, images: int, epoch: int) -> None:
        """Count trained images."""
        self._progress.advance(images, epoch=epoch)


class MachineLoad:
    """How busy the machine is, under MLflow's names for system metrics. Empty where psutil is not installed."""

    def __init__(self) -> None:
        if psutil is not None:
            psutil.cpu_percent()  # the mean since the last call: the first answer means nothing

    def read(self) -> dict[str, float]:
        """The metrics, without waiting; all of the whole machine except the memory of this process."""
        if psutil is None:
            return {}
        memory = psutil.virtual_memory()
        metrics = {
            "system/cpu_utilization_percentage": psutil.cpu_percent(),
            "system/system_memory_usage_megabytes": memory.used / _MEGABYTE,
            "system/system_memory_usage_percentage": memory.percent,
            "system/process_memory_megabytes": psutil.Process().memory_info().rss / _MEGABYTE,
        }
        if torch.cuda.is_initialized():
            metrics["system/gpu_memory_usage_megabytes"] = torch.cuda.max_memory_allocated() / _MEGABYTE
        return metrics


def _epoch_line(epoch: int, metrics: dict[str, float]) -> str:
    return (
        f"epoch {epoch:3d}  lr {metrics['train/epoch_lr']:.4g}  loss {metrics['train/loss']:.4f}"
        f"  train {metrics['train/accuracy']:6.2f} %  test {metrics['test/accuracy_last']:6.2f} %"
        f"  {metrics['perf/images_per_second']:,.0f} images/s"
    )
