"""What happens around a training: the journal, checkpoints when due, signals, progress."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from mgnet_train.errors import StoppedError, UserError
from mgnet_train.machine_load import MachineLoad
from mgnet_train.runs.checkpoint import Checkpoints
from mgnet_train.runs.folder import write_state
from mgnet_train.runs.journal import Journal
from mgnet_train.runs.progress import Progress
from mgnet_train.runs.signals import StopRequest
from mgnet_train.train.distributed import Processes
from mgnet_train.train.trainer import Training

_MOST_FAILED_SAVES = 5


class FileKeeper:
    """Keeps one run's files. On processes that do not lead, `journal` is None and nothing is written.

    `damaged` gives the places of the damaged images that this process has met so far.
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
        damaged: Callable[[], set[str]],
        seconds: float,
    ) -> None:
        self._folder, self._checkpoints, self._journal, self._progress = folder, checkpoints, journal, progress
        self._stop, self._processes, self._seconds = stop, processes, seconds
        self._damaged, self._told = damaged, set[str]()
        self._last_save = time.monotonic()
        self._load = MachineLoad()
        self.failed_saves = 0

    def log(self, kind: str, step: int, metrics: dict[str, float]) -> None:
        """Write metrics to the journal; at an epoch's end tell people, with the images that were damaged."""
        if kind == "epoch":
            self._tell_damaged()
        if self._journal is None:
            return
        if kind == "epoch":
            metrics = metrics | {"system/failed_checkpoints": float(self.failed_saves)} | self._load.read()
            self._progress.say(_epoch_line(step, metrics))
            write_state(self._folder, "running", epoch=step)
        self._journal.log(kind, step, metrics)

    def poll(self, training: Training, *, in_test: bool) -> None:
        """Save when it is time; save and raise StoppedError when a signal came. A test is given up: it is repeated on resume."""
        due = time.monotonic() - self._last_save > self._seconds
        stop, due = self._processes.any_of(self._stop.asked, due and not in_test)
        if stop:
            if not in_test:
                self.save(training)
            raise StoppedError(f"stopped by a signal in epoch {training.epoch + 1}")
        if due:
            self.save(training)

    def save(self, training: Training) -> None:
        """Write a checkpoint. A failure is counted and told; after several in a row the run stops."""
        state = training.state_dict()
        self._last_save = time.monotonic()
        if self._journal is None:
            return
        try:
            self._journal.sync()
            self._checkpoints.save(state)
            self.failed_saves = 0
        except OSError as error:
            self.failed_saves += 1
            self._progress.say(f"checkpoint not saved ({error.strerror}), training goes on; the one before is kept")
            if self.failed_saves >= _MOST_FAILED_SAVES:
                raise UserError(
                    f"{self.failed_saves} checkpoints in a row could not be saved in {self._folder} ({error.strerror}): "
                    "make room and start again, the last good one is kept"
                ) from None

    def advanced(self, images: int, epoch: int) -> None:
        """Count trained images."""
        self._progress.advance(images, epoch=epoch)

    def _tell_damaged(self) -> None:
        new = self._processes.union(self._damaged()) - self._told
        for place in sorted(new):
            self._progress.say(f"damaged image: {place}")
        self._told |= new


def _epoch_line(epoch: int, metrics: dict[str, float]) -> str:
    return (
        f"epoch {epoch:3d}  lr {metrics['train/epoch_lr']:.4g}  loss {metrics['train/loss']:.4f}"
        f"  train {metrics['train/accuracy']:6.2f} %  test {metrics['test/accuracy_last']:6.2f} %"
        f"  {metrics['perf/images_per_second']:,.0f} images/s"
    )
