"""A run survives kills, signals, damaged files, full disks and bad numbers; each fault here is really injected."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tqdm import tqdm

from mgnet_records.errors import ExitCode, InputError
from mgnet_train import Execution, Options, RunSpec, fit
from mgnet_train.errors import BusyError, DivergedError, StoppedError
from mgnet_train.runs import run
from mgnet_train.runs.checkpoint import Checkpoints
from mgnet_train.runs.folder import read_config, write_config
from mgnet_train.runs.journal import IS_EXACT, JOURNAL, Journal, read_records
from mgnet_train.runs.lock import exclusive
from mgnet_train.runs.progress import Progress
from mgnet_train.tracking.uploader import upload_beside
from mgnet_train.train import trainer
from mgnet_train.train.distributed import Processes

Start = Callable[[Callable[[], int]], Any]
FinalState = Callable[[Path], object]
EACH_STEP = 0.0  # seconds between checkpoints


@pytest.fixture
def spec(tiny_spec: Callable[..., RunSpec]) -> RunSpec:
    return tiny_spec(mixup="0.2", ema_decay="0.9", batch_size="400")


@pytest.fixture
def saving(quietly: Options) -> Options:
    return replace(quietly, checkpoint_seconds=EACH_STEP, log_every=1)


@pytest.fixture
def undisturbed(spec: RunSpec, saving: Options, one_process: Processes, tmp_path: Path, final_state: FinalState) -> object:
    return final_state(fit(spec, replace(saving, runs=tmp_path / "undisturbed"), one_process).folder)


def _train(spec: RunSpec, options: Options, processes: Processes) -> Callable[[], int]:
    def work() -> int:
        fit(spec, options, processes)
        return 0

    return work


def _wait_for_lines(folder: Path, lines: int) -> None:
    deadline = time.monotonic() + 60
    while len(read_records(folder / JOURNAL, 0)[0]) < lines and not (folder / "result.json").exists():
        assert time.monotonic() < deadline, "the child did not train"
        time.sleep(0.001)


@pytest.mark.parametrize("luck", range(3))
def test_a_run_killed_at_random_points_ends_with_the_same_bits(
    spec: RunSpec,
    saving: Options,
    one_process: Processes,
    child: Start,
    final_state: FinalState,
    undisturbed: object,
    luck: int,
) -> None:
    chance = random.Random(luck)
    folder = saving.runs / spec.folder_name
    kills = lines = 0
    while not (folder / "result.json").exists():
        running = child(_train(spec, saving, one_process))
        lines += chance.randint(1, 4)
        _wait_for_lines(folder, lines)
        time.sleep(chance.uniform(0, 0.02))
        running.kill()
        kills += running.wait() == -signal.SIGKILL
    assert kills > 0
    assert final_state(folder) == undisturbed


@pytest.mark.parametrize("call", ["fsync of the new file", "rename of the new file"])
@pytest.mark.parametrize("save", [1, 2, 5])
def test_a_run_killed_inside_a_save_ends_with_the_same_bits(
    spec: RunSpec,
    saving: Options,
    one_process: Processes,
    child: Start,
    final_state: FinalState,
    undisturbed: object,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    save: int,
) -> None:
    """The process dies in place of a system call: before the new file is safe, or between the renames of last and new."""
    folder = saving.runs / spec.folder_name
    calls = 0

    def die_at(path: str) -> None:
        nonlocal calls
        calls += path == str(folder / ".last.ckpt.tmp")
        if calls == save:
            os.kill(os.getpid(), signal.SIGKILL)

    fsync, rename = os.fsync, os.replace

    def fsync_or_die(file: int) -> None:
        die_at(os.readlink(f"/proc/self/fd/{file}"))
        fsync(file)

    def rename_or_die(source: str | Path, target: str | Path) -> None:
        die_at(str(source))
        rename(source, target)

    with monkeypatch.context() as patch:
        if call.startswith("fsync"):
            patch.setattr(os, "fsync", fsync_or_die)
        else:
            patch.setattr(os, "replace", rename_or_die)
        assert child(_train(spec, saving, one_process)).wait() == -signal.SIGKILL
    assert final_state(fit(spec, saving, one_process).folder) == undisturbed


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT])
def test_a_signal_while_training_saves_and_exits_with_75_and_the_run_resumes_to_the_same_bits(
    spec: RunSpec,
    saving: Options,
    one_process: Processes,
    child: Start,
    final_state: FinalState,
    undisturbed: object,
    number: signal.Signals,
) -> None:
    rare = replace(saving, checkpoint_seconds=1000.0)
    folder = saving.runs / spec.folder_name
    stopped = child(_train(spec, rare, one_process))
    _wait_for_lines(folder, 2)
    begin = time.monotonic()
    stopped.kill(number)
    assert stopped.wait() == ExitCode.STOPPED
    assert time.monotonic() - begin < 10
    state = json.loads((folder / "state.json").read_text())
    assert (state["status"], state["exit_code"]) == ("stopped", 75)
    ends = [record for record in read_records(folder / JOURNAL, 0)[0] if record.kind == "end"]
    assert [end.status for end in ends] == ["KILLED"]
    assert final_state(fit(spec, rare, one_process).folder) == undisturbed


def test_mixed_precision_stops_and_resumes_on_the_same_samples(
    tiny_spec: Callable[..., RunSpec], saving: Options, one_process: Processes, child: Start, tmp_path: Path
) -> None:
    """Its bits are not promised; its steps are, and the loss of an epoch then differs by rounding alone."""
    mixed = tiny_spec(execution=Execution(precision="mixed"), batch_size="400")
    folder = saving.runs / mixed.folder_name
    stopped = child(_train(mixed, saving, one_process))
    _wait_for_lines(folder, 2)
    stopped.kill(signal.SIGTERM)
    assert stopped.wait() == ExitCode.STOPPED
    alone = fit(mixed, replace(saving, runs=tmp_path / "undisturbed"), one_process).folder
    fit(mixed, saving, one_process)
    streams = [[r for r in read_records(where / JOURNAL, 0)[0] if r.kind != "end"] for where in (folder, alone)]
    assert [(r.kind, r.step) for r in streams[0]] == [(r.kind, r.step) for r in streams[1]]
    losses = [[r.metrics["train/loss"] for r in stream if r.kind == "epoch"] for stream in streams]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


def _exactness(folder: Path) -> list[float]:
    return [record.metrics[IS_EXACT] for record in read_records(folder / JOURNAL, 0)[0] if record.kind == "end"]


def test_numbers_that_come_out_differently_after_a_restart_are_reported_and_recorded(
    spec: RunSpec, saving: Options, one_process: Processes, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = fit(spec, saving, one_process).folder
    first, *others = read_records(folder / JOURNAL, 0)[0]
    first.metrics["train/step_loss"] += 1
    (folder / JOURNAL).unlink()
    journal = Journal(folder)
    for record in (first, *others):
        if record.kind == "end":
            journal.end("FINISHED", is_exact=True)
        else:
            journal.log(record.kind, record.step, record.metrics)
    journal.close()
    for name in ("result.json", "last.ckpt", "previous.ckpt"):
        (folder / name).unlink()
    fit(spec, replace(saving, quiet=False), one_process)
    assert "warning: 1 records that were computed again after the resume differ" in capsys.readouterr().out
    assert _exactness(folder) == [1, 0]


def test_a_resume_in_another_environment_is_reported_and_recorded(
    spec: RunSpec, saving: Options, one_process: Processes, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = fit(spec, saving, one_process).folder
    (folder / "result.json").unlink()
    config = read_config(folder)
    config["environment"]["torch"] = "1.0"
    write_config(folder, config)
    fit(spec, replace(saving, quiet=False), one_process)
    assert f"the same bits are not promised: torch 1.0 -> {torch.__version__}" in capsys.readouterr().out
    assert _exactness(folder) == [1, 0]


def test_a_start_elsewhere_is_not_forgotten_when_it_leaves_no_end(
    spec: RunSpec, saving: Options, one_process: Processes, child: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A killed start writes no end into the journal, so the checkpoint says where it was computed."""
    folder = saving.runs / spec.folder_name
    here = run.environment

    def killed_after_a_save() -> None:
        def work() -> int:
            save = Checkpoints.save

            def save_and_die(self: Checkpoints, state: dict[str, Any]) -> None:
                save(self, state)
                os.kill(os.getpid(), signal.SIGKILL)

            Checkpoints.save = save_and_die  # type: ignore[method-assign]
            return _train(spec, saving, one_process)()

        assert child(work).wait() == -signal.SIGKILL

    killed_after_a_save()
    with monkeypatch.context() as patch:
        patch.setattr(run, "environment", lambda device: here(device).model_copy(update={"torch": "1.0"}))
        killed_after_a_save()
    fit(spec, saving, one_process)
    assert _exactness(folder) == [0]


def test_of_a_resume_in_mixed_precision_nobody_knows_whether_it_was_exact(
    tiny_spec: Callable[..., RunSpec], saving: Options, one_process: Processes
) -> None:
    mixed = tiny_spec(execution=Execution(precision="mixed"), batch_size="720")
    folder = fit(mixed, saving, one_process).folder
    (folder / "result.json").unlink()
    fit(mixed, saving, one_process)
    ends = [record.metrics.get(IS_EXACT) for record in read_records(folder / JOURNAL, 0)[0] if record.kind == "end"]
    assert ends == [1, None]


def test_a_signal_while_testing_aborts_the_test_and_the_run_resumes_to_the_same_bits(
    spec: RunSpec,
    saving: Options,
    one_process: Processes,
    final_state: FinalState,
    undisturbed: object,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    evaluate = trainer.evaluate

    def interrupted(*arguments: Any, **named: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return evaluate(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "evaluate", interrupted)
        with pytest.raises(StoppedError, match="epoch 1"):
            fit(spec, saving, one_process)
    records = read_records(saving.runs / spec.folder_name / JOURNAL, 0)[0]
    assert not any(record.kind == "epoch" for record in records)
    assert final_state(fit(spec, saving, one_process).folder) == undisturbed


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty"])
def test_a_corrupt_last_checkpoint_is_reported_and_the_previous_one_leads_to_the_same_bits(
    spec: RunSpec,
    saving: Options,
    one_process: Processes,
    child: Start,
    final_state: FinalState,
    undisturbed: object,
    capsys: pytest.CaptureFixture[str],
    damage: str,
) -> None:
    folder = saving.runs / spec.folder_name
    killed = child(_train(spec, saving, one_process))
    _wait_for_lines(folder, 3)
    killed.kill()
    killed.wait()
    last = folder / "last.ckpt"
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 1
    last.write_bytes({"truncated": bytes(content[: len(content) // 2]), "flipped": bytes(content), "empty": b""}[damage])
    outcome = fit(spec, replace(saving, quiet=False), one_process)
    assert "going on from the previous one" in capsys.readouterr().out
    assert final_state(outcome.folder) == undisturbed


def test_two_corrupt_checkpoints_stop_the_run_and_nothing_is_overwritten(
    spec: RunSpec, saving: Options, one_process: Processes, child: Start
) -> None:
    folder = saving.runs / spec.folder_name
    killed = child(_train(spec, saving, one_process))
    _wait_for_lines(folder, 3)
    killed.kill()
    killed.wait()
    for name in ("last.ckpt", "previous.ckpt"):
        (folder / name).write_bytes(b"MGNETCK2")
    with pytest.raises(InputError, match=r"delete the folder .* to train again"):
        fit(spec, saving, one_process)
    assert (folder / "last.ckpt").read_bytes() == b"MGNETCK2"


def test_exactly_one_of_two_starters_trains(
    spec: RunSpec, saving: Options, one_process: Processes, child: Start, final_state: FinalState, undisturbed: object
) -> None:
    first = child(_train(spec, saving, one_process))
    _wait_for_lines(saving.runs / spec.folder_name, 1)
    first.kill(signal.SIGSTOP)
    with pytest.raises(BusyError, match=rf"is being trained by process {first.pid} on "):
        fit(spec, saving, one_process)
    first.kill(signal.SIGCONT)
    assert first.wait() == 0
    assert final_state(saving.runs / spec.folder_name) == undisturbed


def test_a_dead_trainer_leaves_no_lock(spec: RunSpec, saving: Options, one_process: Processes, child: Start) -> None:
    first = child(_train(spec, saving, one_process))
    _wait_for_lines(saving.runs / spec.folder_name, 1)
    first.kill()
    first.wait()
    assert not fit(spec, saving, one_process).was_finished


def test_a_disk_that_takes_no_checkpoint_for_a_while_does_not_stop_the_training(
    spec: RunSpec,
    saving: Options,
    one_process: Processes,
    child: Start,
    final_state: FinalState,
    undisturbed: object,
) -> None:
    """RLIMIT_FSIZE makes every large write fail, as a full disk does; it is lifted after the first epoch."""
    folder = saving.runs / spec.folder_name

    def work() -> int:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
        log = Journal.log

        def lifting(self: Any, kind: str, step: int, metrics: dict[str, float]) -> None:
            if kind == "step" and step == 3:
                resource.setrlimit(resource.RLIMIT_FSIZE, (4000, unlimited[1]))
            if kind == "epoch":
                resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
            log(self, kind, step, metrics)

        Journal.log = lifting  # type: ignore[method-assign]
        fit(spec, replace(saving, checkpoint_seconds=1000.0), one_process)
        return 0

    assert child(work).wait() == 0
    first = next(record for record in read_records(folder / JOURNAL, 0)[0] if record.kind == "epoch")
    assert first.metrics["system/failed_checkpoints"] == 1
    weights, stream = final_state(folder)  # type: ignore[misc]
    reference, reference_stream = undisturbed  # type: ignore[misc]
    assert weights == reference
    assert [line[:2] for line in stream] == [line[:2] for line in reference_stream]


def test_a_disk_that_stays_full_stops_the_run_with_the_last_good_checkpoint(
    spec: RunSpec, saving: Options, one_process: Processes, child: Start
) -> None:
    folder = saving.runs / spec.folder_name
    killed = child(_train(spec, saving, one_process))
    _wait_for_lines(folder, 2)
    killed.kill()
    killed.wait()
    before = (folder / "last.ckpt").read_bytes()

    def work() -> int:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, resource.RLIM_INFINITY))
        fit(spec, saving, one_process)
        return 0

    assert child(work).wait() == ExitCode.BAD_INPUT
    assert (folder / "last.ckpt").read_bytes() == before
    fit(spec, saving, one_process)


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_a_number_that_is_not_finite_stops_the_run_and_never_reaches_a_checkpoint(
    spec: RunSpec, saving: Options, one_process: Processes, monkeypatch: pytest.MonkeyPatch, poison: float
) -> None:
    step = trainer.train_step

    def poisoned(network: Any, optimizer: Any, batch: Any, recipe: Any, **named: Any) -> None:
        if named["step"] == 5:
            batch.images[0, 0, 0, 0] = poison
        step(network, optimizer, batch, recipe, **named)

    monkeypatch.setattr(trainer, "train_step", poisoned)
    with pytest.raises(DivergedError, match=r"not finite at step 6 \(epoch 2, learning rate 0\.1\); the last good checkpoint"):
        fit(spec, replace(saving, log_every=1000), one_process)
    folder = saving.runs / spec.folder_name
    assert json.loads((folder / "state.json").read_text())["exit_code"] == ExitCode.DIVERGED
    state = Checkpoints(folder, spec.identity).load()
    assert state is not None
    assert trainer.all_finite(t for t in state["network"].values() if torch.is_tensor(t))
    assert (state["epoch"], state["step"]) == (1, 1)
    assert not (folder / "result.json").exists()


def test_a_process_that_is_killed_inside_the_progress_display_holds_up_no_other(child: Start) -> None:
    """tqdm's own lock is shared by forked processes, and one that dies with it would keep it."""
    Progress(images=1, done=0).close()

    def die() -> int:
        tqdm.get_lock().acquire()
        os.kill(os.getpid(), signal.SIGKILL)
        return 0

    def go_on() -> int:
        Progress(images=1, done=0).close()
        return 0

    assert child(die).wait() == -signal.SIGKILL
    assert child(go_on).wait(seconds=10) == 0


def _hold(path: Path) -> Callable[[], int]:
    def work() -> int:
        with exclusive(path):
            path.with_name("held").touch()
            time.sleep(60)
        return 0

    return work


def _wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not come"
        time.sleep(0.001)


def test_waiting_for_another_process_has_an_end_and_a_dead_one_is_not_waited_for(child: Start, tmp_path: Path) -> None:
    holder = child(_hold(tmp_path / "one.lock"))
    _wait_for(tmp_path / "held")
    expected = r"one.lock has been held by another process for 0.1 s: wait for that process, or end it"
    with pytest.raises(BusyError, match=expected), exclusive(tmp_path / "one.lock", seconds=0.1):
        pass
    holder.kill()
    holder.wait()
    with exclusive(tmp_path / "one.lock", seconds=0.1):
        pass


def test_an_uploader_waits_for_an_earlier_one_only_as_long_as_its_training_lives(
    child: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    child(_hold(tmp_path / "uploader.lock"))
    _wait_for(tmp_path / "held")
    upload_beside(tmp_path, parent=-1, lock_seconds=0.1)
    assert "BusyError: " in capsys.readouterr().out
