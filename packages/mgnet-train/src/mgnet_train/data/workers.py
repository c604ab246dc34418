"""Worker processes that read and decode images: starting them, and one line when they end before their time."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from mgnet_records.errors import InputError

_STALLED_SECONDS = 600.0
_SIGNAL_SECONDS = 1.0
_END = object()
_KILLED = (
    "a worker process was killed or ended by itself, as when memory or shared memory{size} runs out: "
    "use fewer --workers, 0 needs none"
)
# Parts of PyTorch's messages -> what to say. The first that fits.
_FAILURES = (
    ("signal: Bus error", "the shared memory is too small{size}: use --workers 0 or give /dev/shm more"),
    ("shared memory(shm)", "the shared memory is too small{size}: use --workers 0 or give /dev/shm more"),
    ("Too many open files", "too many open files: use --workers 0 or raise the limit (ulimit -n)"),
    ("items of ancdata", "too many open files: use --workers 0 or raise the limit (ulimit -n)"),
    ("signal: Killed", _KILLED),
    ("exited unexpectedly", _KILLED),  # PyTorch does not always find out how
    ("DataLoader timed out", f"no batch within {_STALLED_SECONDS:.0f} s: see whether the disk of the images answers"),
    ("is killed by signal", "a worker process ended ({text}): use --workers 0 to see why"),
)


def batches(
    dataset: Dataset[Any],
    sampler: Any = None,
    *,
    collate: Callable[[Any], Any],
    workers: int,
    pin_memory: bool = False,
) -> Iterator[Any]:
    """What the data set gives for the lists of indices in `sampler`, or one by one; read in `workers` processes, 0 for none.

    The errors of workers come as `worker_failures` makes them.
    """
    loader: DataLoader[Any] = DataLoader(
        dataset,
        batch_size=None if sampler is None else 1,
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=partial(_in_shared_memory, collate),
        pin_memory=pin_memory,
        timeout=_STALLED_SECONDS if workers else 0.0,
        worker_init_fn=_ignore_signals,
        generator=torch.Generator(),  # or it would draw from the global one
    )
    with worker_failures():
        try:
            started: Any = iter(loader)
        except OSError as error:  # fork is refused
            raise InputError(
                f"cannot start {workers} worker processes ({error.strerror or error}): use fewer --workers, 0 needs none"
            ) from None
        try:
            while (batch := _next(started)) is not _END:
                yield batch
        finally:
            if workers:
                # PyTorch does it when the iterator is deleted. A traceback may keep that from happening, and then the end of this
                # process waits for workers that ignore its signal.
                started._shutdown_workers()


def _next(started: Iterator[Any]) -> Any:
    """The next batch, or _END. Raises RuntimeError when a worker has died, as PyTorch does in most cases."""
    try:
        return next(started, _END)
    except (ConnectionError, EOFError) as error:  # a batch was on its way
        time.sleep(_SIGNAL_SECONDS)  # the handler of SIGCHLD raises here, or else later where nobody expects it
        raise RuntimeError(f"a DataLoader worker exited unexpectedly: {error}") from None


def _in_shared_memory(collate: Callable[[Any], Any], samples: Any) -> Any:
    """A batch whose tensors a worker has moved to shared memory.

    PyTorch would do it later in a thread, whose error about too little memory is printed only; the main process waits for ever.
    """
    batch = collate(samples)
    if get_worker_info() is not None:
        for value in batch if isinstance(batch, tuple) else (batch,):
            if isinstance(value, torch.Tensor):
                value.share_memory_()
    return batch


@contextmanager
def worker_failures() -> Iterator[None]:
    """Turn PyTorch's errors about dead worker processes into an InputError of one line.

    PyTorch raises them in a handler of SIGCHLD, so anywhere in the main thread: this belongs around all that runs while workers
    are alive.
    """
    try:
        yield
    except RuntimeError as error:
        failure = failure_of(str(error))
        if failure is None:
            raise
        raise InputError(failure) from None


def failure_of(message: str) -> str | None:
    """What to tell about a RuntimeError of a DataLoader; None for one that has nothing to do with worker processes."""
    for part, told in _FAILURES:
        if part in message:
            return told.format(size=_shared_memory(), text=" ".join(message.split())[:160])
    return None


def _shared_memory() -> str:
    with suppress(OSError):
        status = os.statvfs("/dev/shm")
        return f" (/dev/shm has {status.f_frsize * status.f_blocks / 2**20:,.0f} MB)"
    return ""


def _ignore_signals(worker: int) -> None:
    """The training decides when to stop; a worker that dies first would look like an error."""
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
