"""Small runs for the tests of mgnet-train: a network of a few hundred parameters, seconds at most."""

from __future__ import annotations

import gzip
import os
import signal
import socket
import struct
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mgnet_records.errors import InputError
from mgnet_records.provenance import UNKNOWN
from mgnet_train import Execution, Options, RunSpec, fit, make_spec, start_processes
from mgnet_train.errors import StoppedError
from mgnet_train.runs.journal import JOURNAL, MACHINE_METRICS, read_records
from mgnet_train.train.distributed import Processes

TINY = "MgNet[1,1]-[4]-B^l"


@pytest.fixture(autouse=True)
def _global_switches() -> Iterator[None]:
    """The deterministic precision sets process-wide switches; other tests must not inherit them."""
    deterministic = torch.are_deterministic_algorithms_enabled()
    yield
    torch.use_deterministic_algorithms(deterministic)


@pytest.fixture(autouse=True)
def _default_places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No store, no cache and no data set of the person who tests."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("HF_DATASETS_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def one_process() -> Processes:
    return start_processes("cpu")


@pytest.fixture
def tiny_spec() -> Callable[..., RunSpec]:
    def make(seed: int = 0, model: str = TINY, execution: Execution | None = None, **overrides: str) -> RunSpec:
        overrides = {"epochs": "2", "batch_size": "256"} | overrides
        return make_spec(model, dataset="digits", overrides=overrides, seed=seed, code=UNKNOWN, execution=execution)

    return make


@pytest.fixture
def quietly(tmp_path: Path) -> Options:
    return Options(runs=tmp_path / "runs", track="later", quiet=True, log_every=2)


@pytest.fixture
def final_state() -> Callable[[Path], object]:
    """Every bit of a finished run that must not depend on how it came about: weights, and metrics but for speed."""

    def read(folder: Path) -> object:
        weights = {name: tensor.numpy().tobytes() for name, tensor in load_file(folder / "model.safetensors").items()}
        stream = [
            (record.kind, record.step, {k: v for k, v in record.metrics.items() if not k.startswith(MACHINE_METRICS)})
            for record in read_records(folder / JOURNAL, 0)[0]
            if record.kind != "end"
        ]
        return weights, stream

    return read


@pytest.fixture(scope="session")
def tiny_mnist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some of scikit-learn's digits in MNIST's format, so that a table of the paper can be run to its end."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.zeros((len(bunch.images), 28, 28), dtype=np.uint8)
    images[:, 2:26, 2:26] = (bunch.images * 15).astype(np.uint8).repeat(3, axis=1).repeat(3, axis=2)
    folder = tmp_path_factory.mktemp("data") / "mnist"
    folder.mkdir()
    for prefix, part in (("train", slice(0, 16)), ("t10k", slice(16, 24))):
        for name, array in (("images-idx3", images[part]), ("labels-idx1", bunch.target[part].astype(np.uint8))):
            header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
            (folder / f"{prefix}-{name}-ubyte.gz").write_bytes(gzip.compress(header + array.tobytes()))
    return folder.parent


class Child:
    """A forked process: everything is imported already, so it starts at once."""

    def __init__(self, work: Callable[[], int]) -> None:
        self.code: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            code = 70
            try:
                code = work()
            except InputError as error:
                code = int(error.exit_code)
            except StoppedError as stop:
                code = int(stop.exit_code)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        os.kill(self.pid, number)

    def wait(self, seconds: float = 120.0) -> int:
        """The exit code, negative for a signal. Fails when that takes longer; pytest then prints where the process stood."""
        if not self._ended_within(seconds):
            for number in (signal.SIGCONT, signal.SIGABRT):  # pytest's fault handler answers the second with all stacks
                self.kill(number)
            if not self._ended_within(5.0):
                self.kill()
                self._ended_within(5.0)
            raise AssertionError(f"process {self.pid} did not end within {seconds:.0f} s")
        assert self.code is not None
        return self.code

    def _ended_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self.code is None and time.monotonic() < deadline:
            found, status = os.waitpid(self.pid, os.WNOHANG)
            if found:
                self.code = os.waitstatus_to_exitcode(status)
            else:
                time.sleep(0.002)
        return self.code is not None


@pytest.fixture
def child() -> Iterator[Callable[[Callable[[], int]], Child]]:
    """Start forked processes; those still alive at the end are killed."""
    children: list[Child] = []

    def start(work: Callable[[], int]) -> Child:
        children.append(Child(work))
        return children[-1]

    yield start
    for one in children:
        if one.code is None:
            one.kill()
            one.wait()


@pytest.fixture
def together(child: Callable[[Callable[[], int]], Child]) -> Callable[[Callable[[Processes], object]], list[Child]]:
    """Start two forked processes that do some work as one group, as torchrun would start them."""

    def start(work: Callable[[Processes], object]) -> list[Child]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}

        def member(rank: int) -> Callable[[], int]:
            def joined() -> int:
                os.environ |= {**address, "RANK": str(rank), "LOCAL_RANK": str(rank)}
                processes = start_processes("cpu")
                work(processes)
                processes.close()
                return 0

            return joined

        return [child(member(rank)) for rank in range(2)]

    return start


@pytest.fixture
def ranks(together: Callable[[Callable[[Processes], object]], list[Child]]) -> Callable[[RunSpec, Options], list[Child]]:
    """Start two forked processes that train together."""
    return lambda spec, options: together(lambda processes: fit(spec, options, processes))
