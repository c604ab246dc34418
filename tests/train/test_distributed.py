"""Two processes over gloo do what one does: the same samples, nearly the same gradients, every test image once."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from mgnet_train import Options, RunSpec, fit, start_processes
from mgnet_train.journal import JOURNAL, read_records
from mgnet_train.processes import Processes

Start = Callable[[Callable[[], int]], Any]


def _ranks(spec: RunSpec, options: Options, child: Start, world: int = 2) -> list[Any]:
    """Forked processes that train together, as torchrun would start them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def member(rank: int) -> Callable[[], int]:
        def work() -> int:
            os.environ |= {
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": str(world),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
            }
            processes = start_processes("cpu")
            fit(spec, options, processes)
            processes.close()
            return 0

        return work

    return [child(member(rank)) for rank in range(world)]


def _epochs(folder: Path) -> list[dict[str, float]]:
    return [record.metrics for record in read_records(folder / JOURNAL, 0)[0] if record.kind == "epoch"]


@pytest.mark.parametrize("averaging", ["0", "0.9"])
def test_two_processes_train_as_one_and_test_every_image_once(
    tiny_spec: Callable[..., RunSpec], quietly: Options, one_process: Processes, child: Start, tmp_path: Path, averaging: str
) -> None:
    """At a rate of almost zero the first losses differ by the batch statistics of half batches and by rounding only."""
    spec = tiny_spec(epochs="1", batch_size="360", lr="1e-9", ema_decay=averaging)
    alone = fit(spec, replace(quietly, runs=tmp_path / "alone"), one_process)
    together = replace(quietly, runs=tmp_path / "together")
    together.runs.mkdir()
    assert [member.wait() for member in _ranks(spec, together, child)] == [0, 0]
    folder = together.runs / spec.folder_name
    result = json.loads((folder / "result.json").read_text())
    assert result["test"]["n"] == 360
    assert _epochs(folder)[0]["train/loss"] == pytest.approx(_epochs(alone.folder)[0]["train/loss"], rel=0.05)
    assert json.loads((folder / "config.json").read_text())["processes"] == 2


def test_the_gradient_of_two_processes_is_that_of_one(
    tiny_spec: Callable[..., RunSpec], quietly: Options, one_process: Processes, child: Start, tmp_path: Path
) -> None:
    """Without batch statistics the function is the same; only the order of a sum of float32 differs.

    An entry of the gradient is a mean over n = 360 images of terms of size about 1. Two orders of that sum differ by at most
    n eps times the mean size of a term, and one step of rate 1 moves a weight by just this entry: 360 * 1.2e-7 = 4.3e-5.
    """
    args = {"norm_layer": "groupnorm1"}
    spec = tiny_spec(epochs="1", batch_size="360", lr="1", momentum="0", weight_decay="0")
    spec = replace(spec, network=replace(spec.network, args=spec.network.args | args))
    alone = fit(spec, replace(quietly, runs=tmp_path / "alone"), one_process)
    together = replace(quietly, runs=tmp_path / "together")
    together.runs.mkdir()
    assert [member.wait() for member in _ranks(spec, together, child)] == [0, 0]
    ours = load_file(together.runs / spec.folder_name / "model.safetensors")
    theirs = load_file(alone.folder / "model.safetensors")
    start = spec.network.make(spec.recipe, spec.seed).state_dict()
    moved = max(float((theirs[name] - start[name]).abs().max()) for name in theirs)
    assert moved > 0.01
    steps = 4  # each step starts from weights that differ already; the function's slope is of order one
    for name in theirs:
        assert float((ours[name] - theirs[name]).abs().max()) < steps * 4.3e-5


def test_a_signal_to_one_process_stops_both_and_they_resume(
    tiny_spec: Callable[..., RunSpec], quietly: Options, child: Start
) -> None:
    spec = tiny_spec(epochs="6")
    quietly.runs.mkdir()
    members = _ranks(spec, replace(quietly, log_every=1), child)
    journal = quietly.runs / spec.folder_name / JOURNAL
    while len(read_records(journal, 0)[0]) < 2:
        time.sleep(0.002)
    members[1].kill(signal.SIGTERM)
    assert [member.wait() for member in members] == [75, 75]
    assert [member.wait() for member in _ranks(spec, quietly, child)] == [0, 0]


def test_synchronised_batch_statistics_are_refused_on_a_cpu(
    tiny_spec: Callable[..., RunSpec], quietly: Options, child: Start
) -> None:
    quietly.runs.mkdir()
    assert [member.wait() for member in _ranks(tiny_spec(batchnorm="sync"), quietly, child)] == [2, 2]


@pytest.mark.nightly
def test_torchrun_restarts_a_killed_worker_and_the_run_finishes(tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=2",
        "-m", "mgnet_train", "fit", "MgNet[1,1]-[4]-B^l", "--epochs", "10", "--runs", str(tmp_path), "--track", "later",
        "--device", "cpu",
    ]  # fmt: skip
    run = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"})
    while not list(tmp_path.glob("*/last.ckpt")):
        assert run.poll() is None
        time.sleep(0.02)
    state = json.loads(next(tmp_path.glob("*/state.json")).read_text())
    os.kill(state["process"], signal.SIGKILL)
    assert run.wait(timeout=300) == 0
    assert list(tmp_path.glob("*/result.json"))
