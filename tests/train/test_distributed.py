"""Two processes over gloo train, stop, resume and restart as one run, and test every image once.

That their gradients are those of one process is proved in test_distributed_gradients.py.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from mgnet_train import Options, RunSpec, fit
from mgnet_train.data.digits import read_digits
from mgnet_train.data.resident import ResidentEvalLoader, ResidentTrainLoader
from mgnet_train.runs.journal import JOURNAL, read_records
from mgnet_train.train.distributed import Processes
from mgnet_train.train.precision import Executor
from mgnet_train.train.trainer import Trainer

Ranks = Callable[[RunSpec, Options], list[Any]]


def _epochs(folder: Path) -> list[dict[str, float]]:
    return [record.metrics for record in read_records(folder / JOURNAL, 0)[0] if record.kind == "epoch"]


@pytest.mark.parametrize("averaging", ["0", "0.9"])
def test_two_processes_train_as_one_and_test_every_image_once(
    tiny_spec: Callable[..., RunSpec], quietly: Options, one_process: Processes, ranks: Ranks, tmp_path: Path, averaging: str
) -> None:
    """At a rate of almost zero the first losses differ by the batch statistics of half batches and by rounding only."""
    spec = tiny_spec(epochs="1", batch_size="360", lr="1e-9", ema_decay=averaging)
    alone = fit(spec, replace(quietly, runs=tmp_path / "alone"), one_process)
    together = replace(quietly, runs=tmp_path / "together")
    together.runs.mkdir()
    assert [member.wait() for member in ranks(spec, together)] == [0, 0]
    folder = together.runs / spec.folder_name
    result = json.loads((folder / "result.json").read_text())
    assert result["test"]["n"] == 360
    assert _epochs(folder)[0]["train/loss"] == pytest.approx(_epochs(alone.folder)[0]["train/loss"], rel=0.05)
    assert json.loads((folder / "config.json").read_text())["execution"]["processes"] == 2


def test_without_batch_statistics_two_processes_end_where_one_does(
    tiny_spec: Callable[..., RunSpec], quietly: Options, one_process: Processes, ranks: Ranks, tmp_path: Path
) -> None:
    """The whole of `fit` hangs together: a thousandth of the way is far above rounding, and far below a step that is left out,
    counted twice or not averaged, of which there are four.
    """
    args = {"norm_layer": "groupnorm1"}
    spec = tiny_spec(epochs="1", batch_size="360", lr="1", momentum="0", weight_decay="0")
    spec = replace(spec, network=replace(spec.network, args=spec.network.args | args))
    alone = fit(spec, replace(quietly, runs=tmp_path / "alone"), one_process)
    together = replace(quietly, runs=tmp_path / "together")
    together.runs.mkdir()
    assert [member.wait() for member in ranks(spec, together)] == [0, 0]
    ours = load_file(together.runs / spec.folder_name / "model.safetensors")
    theirs = load_file(alone.folder / "model.safetensors")
    start = spec.network.make(spec.recipe.init, spec.seed).state_dict()
    moved = max(float((theirs[name] - start[name]).abs().max()) for name in theirs)
    assert moved > 0.01
    for name in theirs:
        assert float((ours[name] - theirs[name]).abs().max()) < 1e-3 * moved


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_one_process_stops_both_and_they_resume(
    tiny_spec: Callable[..., RunSpec], quietly: Options, ranks: Ranks, number: signal.Signals
) -> None:
    signal.signal(number, signal.SIG_DFL)  # whoever started the tests may ignore it
    spec = tiny_spec(epochs="6")
    quietly.runs.mkdir()
    members = ranks(spec, replace(quietly, log_every=1))
    journal = quietly.runs / spec.folder_name / JOURNAL
    deadline = time.monotonic() + 60
    while len(read_records(journal, 0)[0]) < 2:
        assert time.monotonic() < deadline, "the processes did not train"
        time.sleep(0.002)
    members[1].kill(number)
    assert [member.wait() for member in members] == [75, 75]
    assert [member.wait() for member in ranks(spec, quietly)] == [0, 0]


@pytest.mark.parametrize("file", ["journal.jsonl", "config.json", "last.ckpt"])
def test_a_file_of_the_run_that_cannot_be_used_ends_both_processes(
    tiny_spec: Callable[..., RunSpec], quietly: Options, ranks: Ranks, file: str
) -> None:
    """Only the main process reads it; the other one must not wait."""
    spec = tiny_spec()
    (quietly.runs / spec.folder_name / file).mkdir(parents=True)
    assert [member.wait() for member in ranks(spec, quietly)] == [2, 2]


def test_synchronized_batch_statistics_are_rejected_on_a_cpu_and_leave_nothing_behind(
    tiny_spec: Callable[..., RunSpec], quietly: Options, ranks: Ranks
) -> None:
    quietly.runs.mkdir()
    assert [member.wait() for member in ranks(tiny_spec(batchnorm="sync"), quietly)] == [2, 2]
    assert not list(quietly.runs.iterdir())


def _bits(folder: Path) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in load_file(folder / "model.safetensors").items()}


@pytest.mark.parametrize("averaging", [pytest.param("0", id="weights"), pytest.param("0.9", id="moving-average")])
def test_the_time_of_checkpoints_changes_no_bit_of_two_processes(
    tiny_spec: Callable[..., RunSpec],
    quietly: Options,
    ranks: Ranks,
    tmp_path: Path,
    final_state: Callable[[Path], object],
    averaging: str,
) -> None:
    """Running statistics differ between the processes all through an epoch: a checkpoint keeps both and averages nothing."""
    spec = tiny_spec(epochs="2", batch_size="100", ema_decay=averaging)
    folders = []
    for seconds in (0.0, 0.2, 300.0):
        options = replace(quietly, runs=tmp_path / str(seconds), checkpoint_seconds=seconds)
        options.runs.mkdir()
        assert [member.wait() for member in ranks(spec, options)] == [0, 0]
        folders.append(options.runs / spec.folder_name)
    assert _bits(folders[0]) == _bits(folders[1]) == _bits(folders[2])
    assert final_state(folders[0]) == final_state(folders[1]) == final_state(folders[2])


@pytest.mark.parametrize("averaging", [pytest.param("0", id="weights"), pytest.param("0.9", id="moving-average")])
def test_two_processes_that_are_killed_in_the_middle_of_an_epoch_resume_to_the_same_bits(
    tiny_spec: Callable[..., RunSpec],
    quietly: Options,
    ranks: Ranks,
    tmp_path: Path,
    final_state: Callable[[Path], object],
    averaging: str,
) -> None:
    spec = tiny_spec(epochs="2", batch_size="60", ema_decay=averaging)
    undisturbed = replace(quietly, runs=tmp_path / "undisturbed")
    undisturbed.runs.mkdir()
    assert [member.wait() for member in ranks(spec, undisturbed)] == [0, 0]
    quietly.runs.mkdir()
    folder, kills = quietly.runs / spec.folder_name, 0
    for lines in (2, 9, 14):
        members = ranks(spec, replace(quietly, checkpoint_seconds=0.0))
        deadline = time.monotonic() + 60
        while len(read_records(folder / JOURNAL, 0)[0]) < lines and not (folder / "result.json").exists():
            assert time.monotonic() < deadline, "the processes did not train"
            time.sleep(0.001)
        for member in members:
            member.kill()
        kills += [member.wait() for member in members] == [-signal.SIGKILL, -signal.SIGKILL]
    assert kills > 0
    assert [member.wait() for member in ranks(spec, quietly)] == [0, 0]
    assert _bits(folder) == _bits(undisturbed.runs / spec.folder_name)
    assert final_state(folder) == final_state(undisturbed.runs / spec.folder_name)


def test_one_process_goes_on_where_two_were_killed_and_says_that_the_bits_are_not_promised(
    tiny_spec: Callable[..., RunSpec],
    quietly: Options,
    one_process: Processes,
    ranks: Ranks,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spec = tiny_spec(epochs="2", batch_size="60")
    quietly.runs.mkdir()
    folder = quietly.runs / spec.folder_name
    members = ranks(spec, replace(quietly, checkpoint_seconds=0.0))
    deadline = time.monotonic() + 60
    while len(read_records(folder / JOURNAL, 0)[0]) < 2:
        assert time.monotonic() < deadline, "the processes did not train"
        time.sleep(0.001)
    for member in members:
        member.kill()
        member.wait()
    result = fit(spec, replace(quietly, quiet=False), one_process).result
    assert "the same bits are not promised: processes 2 -> 1" in capsys.readouterr().out
    first = _epochs(folder)[0]
    assert result.execution.processes == 2
    assert first["train/accuracy"] * 1437 / 100 == pytest.approx(round(first["train/accuracy"] * 1437 / 100))


def test_reading_the_state_changes_nothing_and_keeps_the_statistics_of_every_process(
    tiny_spec: Callable[..., RunSpec], together: Callable[[Callable[[Processes], object]], list[Any]]
) -> None:
    spec = tiny_spec(batch_size="100")

    def work(processes: Processes) -> None:
        data = read_digits()
        trainer = Trainer(
            spec.network.make(spec.recipe.init, spec.seed),
            spec.recipe,
            executor=Executor(spec.execution, processes.device),
            train=ResidentTrainLoader(data, spec.recipe, seed=0, processes=processes),
            test=ResidentEvalLoader(data, batch_size=100, processes=processes),
            classes=10,
            seed=0,
            processes=processes,
            log_every=100,
        )
        own = torch.tensor([1.0 + processes.rank])
        for buffer in trainer.network.buffers():
            if buffer.is_floating_point():
                buffer.fill_(own.item())
        state = trainer.state_dict()
        assert state["statistics"].unique(dim=1).tolist() == [[1.0], [2.0]]
        assert all(buffer.eq(own).all() for buffer in trainer.network.buffers() if buffer.is_floating_point())
        trainer.synchronize_buffers()
        assert all(buffer.eq(1.5).all() for buffer in trainer.network.buffers() if buffer.is_floating_point())
        trainer.load_state_dict(state)
        assert all(buffer.eq(own).all() for buffer in trainer.network.buffers() if buffer.is_floating_point())

    assert [member.wait() for member in together(work)] == [0, 0]


@pytest.mark.nightly
def test_torchrun_restarts_a_killed_worker_and_the_run_finishes(tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=2",
        "-m", "mgnet_train", "fit", "MgNet[1,1]-[4]-B^l", "--epochs", "10", "--runs", str(tmp_path), "--track", "later",
        "--device", "cpu",
    ]  # fmt: skip
    run = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"})
    try:
        deadline = time.monotonic() + 300
        while not list(tmp_path.glob("*/last.ckpt")):
            assert run.poll() is None
            assert time.monotonic() < deadline, "torchrun's processes saved nothing"
            time.sleep(0.02)
        state = json.loads(next(tmp_path.glob("*/state.json")).read_text())
        os.kill(state["process"], signal.SIGKILL)
        assert run.wait(timeout=300) == 0
        assert list(tmp_path.glob("*/result.json"))
    finally:
        run.kill()
        run.wait(timeout=60)
