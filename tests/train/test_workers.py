"""Worker processes that die, cannot start or have too little shared memory: one line that says what to do; none are needed."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset

from mgnet_records.errors import InputError
from mgnet_records.provenance import UNKNOWN
from mgnet_train import Options, fit, make_spec
from mgnet_train.cli.main import main
from mgnet_train.data.workers import batches, failure_of, worker_failures
from mgnet_train.train.distributed import Processes

KILLED = (
    r"a worker process was killed or ended by itself, as when memory or shared memory \(/dev/shm has .* MB\) runs out: "
    r"use fewer --workers, 0 needs none"
)
ALONE = Processes(rank=0, world=1, device=torch.device("cpu"))


class _Images(Dataset[torch.Tensor]):
    """Images of 3 MB; at the fifth, the process that reads it does something."""

    def __init__(self, at_fifth: Callable[[], object]) -> None:
        self._at_fifth = at_fifth

    def __len__(self) -> int:
        return 20

    def __getitem__(self, index: int) -> torch.Tensor:
        if index == 5:
            self._at_fifth()
        return torch.zeros(3, 512, 512)


def _read(at_fifth: Callable[[], object], *, workers: int) -> Iterator[Any]:
    return batches(_Images(at_fifth), [[i] for i in range(20)], collate=torch.stack, workers=workers)


@pytest.mark.parametrize(
    "number, message",
    [
        (signal.SIGKILL, KILLED),
        (signal.SIGBUS, r"the shared memory is too small \(/dev/shm has .* MB\): use --workers 0 or give /dev/shm more"),
        (signal.SIGSEGV, r"a worker process ended \(.*Segmentation fault.*\): use --workers 0 to see why"),
    ],
)
def test_a_worker_that_dies_is_reported_in_one_line_wherever_the_main_process_is(number: signal.Signals, message: str) -> None:
    def train() -> None:
        with worker_failures():
            for _ in _read(lambda: os.kill(os.getpid(), number), workers=1):
                time.sleep(0.05)  # PyTorch's handler of SIGCHLD raises here or in the reader

    # PyTorch does not always find out how a worker ended.
    with pytest.raises(InputError, match=rf"^({message}|{KILLED})$"):
        train()


def test_a_worker_that_exits_is_reported_in_one_line() -> None:
    with pytest.raises(InputError, match=KILLED):
        list(_read(lambda: os._exit(3), workers=1))


def test_an_error_in_a_worker_that_is_a_defect_keeps_its_traceback() -> None:
    def fail() -> None:
        raise RuntimeError("a defect")

    with pytest.raises(RuntimeError, match=r"a defect"):
        list(_read(fail, workers=1))


def test_workers_that_cannot_be_started_are_reported_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", refuse)
    with pytest.raises(InputError, match=r"^cannot start 2 worker processes \(Resource temporarily unavailable\): use fewer"):
        list(_read(int, workers=2))


def test_too_few_open_files_are_reported_in_one_line() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(os.listdir("/proc/self/fd"))

    def train() -> None:
        kept = []
        for batch in _read(int, workers=1):
            kept.append(batch)  # each keeps a file of shared memory open
            resource.setrlimit(resource.RLIMIT_NOFILE, (used + 8, hard))

    try:
        with pytest.raises(InputError, match=r"^too many open files: use --workers 0 or raise the limit \(ulimit -n\)$"):
            train()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_messages_about_other_things_are_left_alone() -> None:
    assert failure_of("CUDA error: out of memory") is None
    assert failure_of("Timed out waiting 600000ms for recv operation to complete") is None


@pytest.fixture
def data(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for split in ("train", "val"):
        for name in ("n01440764", "n01443537"):
            folder = tmp_path / "data" / "imagenet" / split / name
            folder.mkdir(parents=True)
            for i in range(8):
                Image.fromarray(random.integers(0, 256, (30, 30, 3), dtype=np.uint8)).save(folder / f"{i}.JPEG")
    return tmp_path / "data"


def _words(data: Path, runs: Path, *more: str) -> list[str]:
    words = ["fit", "MgNet[1]-[4]-B^l", "--model-arg", 'stem="imagenet"', "--data", "imagenet", "--data-dir", str(data)]
    words += ["--epochs", "1", "--batch-size", "16", "--device", "cpu", "--track", "later", "--runs", str(runs), *more]
    return words


_PRIVATE_MOUNTS = 0x20000  # CLONE_NEWNS


def _shrink_shared_memory() -> int:
    """Give this process a /dev/shm of 1 MB of its own; 0 when that is allowed."""
    if ctypes.CDLL(None).unshare(_PRIVATE_MOUNTS):
        return 1
    mounts = (["--make-rprivate", "/"], ["-t", "tmpfs", "-o", "size=1m", "tmpfs", "/dev/shm"])
    return max(subprocess.run(["mount", *words], capture_output=True, check=False).returncode for words in mounts)


def test_a_shared_memory_that_is_too_small_is_named_and_no_worker_needs_none(
    data: Path, tmp_path: Path, child: Callable[[Callable[[], int]], Any], capfd: pytest.CaptureFixture[str]
) -> None:
    if child(_shrink_shared_memory).wait():
        pytest.skip("this user may not mount a /dev/shm of 1 MB")

    def start(workers: str) -> int:
        return _shrink_shared_memory() or main(_words(data, tmp_path / "runs", "--workers", workers))

    assert child(lambda: start("1")).wait() == 2
    printed = capfd.readouterr().err
    assert printed.splitlines()[-1] == (
        "mgnet-train fit: the shared memory is too small (/dev/shm has 1 MB): use --workers 0 or give /dev/shm more"
    )
    assert "Traceback" not in printed
    assert child(lambda: start("0")).wait() == 0


def test_a_run_with_no_worker_reads_and_digests_everything(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(_words(data, tmp_path / "runs", "--workers", "0", "--digest-contents")) == 0
    assert "of 16 images" in capsys.readouterr().out


def test_a_number_of_workers_below_zero_is_refused(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(_words(data, tmp_path / "runs", "--workers", "-1"))
    assert "--workers" in capsys.readouterr().err


def test_a_run_whose_worker_is_killed_ends_with_one_line_and_goes_on(
    data: Path, quietly: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_spec(
        "MgNet[1]-[4]-B^l",
        dataset="imagenet",
        overrides={"epochs": "1", "batch_size": "4"},
        code=UNKNOWN,
        model_args={"stem": "imagenet"},
    )
    options = replace(quietly, data_dir=data, workers=1)
    with monkeypatch.context() as patch:
        patch.setattr("mgnet_train.data.files.decode", lambda content: os.kill(os.getpid(), signal.SIGKILL))
        with pytest.raises(InputError, match=KILLED):
            fit(spec, options, ALONE)
    state = json.loads((options.runs / spec.folder_name / "state.json").read_text())
    assert (state["status"], state["exit_code"]) == ("failed", 2)
    assert fit(spec, options, ALONE).result.test.n == 16
