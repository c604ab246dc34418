"""Killed, or without room on the disk, at any change of a file: the same command ends with the same bits."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mgnet_records.errors import ExitCode, InputError
from mgnet_train import Options, RunSpec, fit
from mgnet_train.cli.main import main
from mgnet_train.runs.lock import exclusive
from mgnet_train.train.distributed import Processes

Start = Callable[[Callable[[], int]], Any]
FinalState = Callable[[Path], object]
# More than a run of four steps makes; points beyond its end are skipped.
CHANGES = 120
OFTEN = {2, 17, 33, 52, 71, 90}


def _points(every: int = 1) -> list[Any]:
    return [pytest.param(at, marks=[] if at in OFTEN else [pytest.mark.nightly]) for at in range(1, CHANGES, every)]


@pytest.fixture
def spec(tiny_spec: Callable[..., RunSpec]) -> RunSpec:
    return tiny_spec(ema_decay="0.9", batch_size="720")


@pytest.fixture
def saving(quietly: Options) -> Options:
    return replace(quietly, checkpoint_seconds=0.0, log_every=1)


@pytest.fixture
def expected(spec: RunSpec, saving: Options, one_process: Processes, tmp_path: Path, final_state: FinalState) -> object:
    return final_state(fit(spec, replace(saving, runs=tmp_path / "undisturbed"), one_process).folder)


def _before_changes(place: Path, act: Callable[[int], None]) -> None:
    """In this process, for good: call `act` with 1, 2, 3, ... before each change of a file below a folder."""
    count = 0

    def changes() -> None:
        nonlocal count
        count += 1
        act(count)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            is_change = isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
        else:
            path, is_change = arguments[0] if arguments else None, event in ("os.rename", "os.remove", "os.mkdir")
        if is_change and isinstance(path, str | Path) and str(path).startswith(str(place)):
            changes()

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            changes()
            return function(*arguments)

        return call

    sys.addaudithook(hook)
    # Python has no audit event for these three.
    os.pwrite, os.fsync, os.ftruncate = counted(os.pwrite), counted(os.fsync), counted(os.ftruncate)


def _train(
    spec: RunSpec, options: Options, processes: Processes, act: Callable[[int], None], *, is_ignoring: bool = False
) -> Callable[[], int]:
    def work() -> int:
        for number in (signal.SIGHUP, signal.SIGINT):  # whoever started the tests may ignore them
            if not is_ignoring:
                signal.signal(number, signal.SIG_DFL)
        _before_changes(options.runs, act)
        fit(spec, options, processes)
        return 0

    return work


@pytest.mark.parametrize("at", _points())
def test_a_run_killed_before_any_change_of_a_file_ends_with_the_same_bits(
    spec: RunSpec,
    saving: Options,
    one_process: Processes,
    child: Start,
    final_state: FinalState,
    expected: object,
    at: int,
) -> None:
    def die(count: int) -> None:
        if count == at:
            os.kill(os.getpid(), signal.SIGKILL)

    code = child(_train(spec, saving, one_process, die)).wait()
    if code == 0 and at > max(OFTEN):
        pytest.skip("the run has fewer changes")
    assert code == -signal.SIGKILL
    outcome = fit(spec, saving, one_process)
    assert final_state(outcome.folder) == expected
    assert not list(outcome.folder.glob(".*.tmp"))
    assert fit(spec, saving, one_process).was_finished


@pytest.mark.parametrize("stays", [False, True], ids=["once", "for-good"])
@pytest.mark.parametrize("at", _points())
def test_a_disk_that_is_full_at_any_change_of_a_file_costs_nothing(
    spec: RunSpec,
    saving: Options,
    one_process: Processes,
    child: Start,
    final_state: FinalState,
    expected: object,
    at: int,
    stays: bool,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def fail(count: int) -> None:
        if count == at or (stays and count > at):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    code = child(_train(spec, saving, one_process, fail)).wait()
    printed = capfd.readouterr().err
    assert code in (ExitCode.DONE, ExitCode.BAD_INPUT), printed
    outcome = fit(spec, saving, one_process)
    weights, stream = final_state(outcome.folder)  # type: ignore[misc]
    assert weights == expected[0]  # type: ignore[index]
    assert [record[:2] for record in stream] == [record[:2] for record in expected[1]]  # type: ignore[index]


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGXCPU])
def test_a_closed_terminal_and_a_limit_on_processor_time_save_and_say_that_the_same_command_goes_on(
    spec: RunSpec, saving: Options, one_process: Processes, child: Start, final_state: FinalState, expected: object, number: int
) -> None:
    rare = replace(saving, checkpoint_seconds=1000.0)

    def send(count: int) -> None:
        if count == 12:
            os.kill(os.getpid(), number)

    assert child(_train(spec, rare, one_process, send)).wait() == ExitCode.STOPPED
    folder = saving.runs / spec.folder_name
    assert (folder / "last.ckpt").exists()
    assert final_state(fit(spec, rare, one_process).folder) == expected


def test_a_second_ctrl_c_stops_at_once_and_the_same_command_goes_on(
    spec: RunSpec, saving: Options, one_process: Processes, child: Start, final_state: FinalState, expected: object
) -> None:
    def press_twice(count: int) -> None:
        if count in (30, 31):
            os.kill(os.getpid(), signal.SIGINT)

    assert child(_train(spec, saving, one_process, press_twice)).wait() == ExitCode.STOPPED
    assert '"status": "stopped"' in (saving.runs / spec.folder_name / "state.json").read_text()
    assert final_state(fit(spec, saving, one_process).folder) == expected


def test_a_signal_that_is_ignored_stays_ignored(spec: RunSpec, saving: Options, one_process: Processes, child: Start) -> None:
    """As nohup has it for SIGHUP, and a shell for SIGINT of a job in the background."""

    def work() -> int:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for number in (signal.SIGHUP, signal.SIGINT):
            os.kill(os.getpid(), number)
        return _train(spec, saving, one_process, lambda count: os.kill(os.getpid(), signal.SIGHUP), is_ignoring=True)()

    assert child(work).wait() == 0


def _fit_words(runs: Path) -> list[str]:
    return ["fit", "MgNet[1,1]-[4]-B^l", "--epochs", "2", "--batch-size", "720", "--runs", str(runs), "--track", "later"]


@pytest.mark.parametrize("broken", ["pipe without a reader", "full device", "closed", "closed terminal"])
def test_a_standard_output_that_cannot_be_written_costs_no_training(child: Start, tmp_path: Path, broken: str) -> None:
    def work() -> int:
        if broken == "closed":
            for number in (0, 1):
                with suppress(OSError):
                    os.close(number)
            sys.stdin = sys.stdout = None  # type: ignore[assignment] # as Python begins then
        else:
            if broken == "full device":
                output = os.open("/dev/full", os.O_WRONLY)
            elif broken == "closed terminal":
                terminal, output = os.openpty()
                os.close(terminal)
            else:
                reader, output = os.pipe()
                os.close(reader)
            os.dup2(output, 1)
            sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - for the rest of this process
        os.dup2(os.open(tmp_path / "err", os.O_WRONLY | os.O_CREAT), 2)
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
        code = main(_fit_words(tmp_path / "runs"))
        sys.stdout.flush()
        return code

    # On a full disk the report is missing where somebody may look for it, on the others nobody looks.
    assert child(work).wait() == (ExitCode.FAILED if broken == "full device" else ExitCode.DONE)
    assert len(list((tmp_path / "runs").glob("*/result.json"))) == 1
    said = (tmp_path / "err").read_text().splitlines()
    assert not any("Traceback" in line for line in said)
    assert all("standard output cannot be written" in line or "No space left on device" in line for line in said)
    assert bool(said) == (broken != "closed")


def test_a_command_behind_a_closed_pipe_ends_without_a_traceback(child: Start, tmp_path: Path) -> None:
    def work() -> int:
        reader, output = os.pipe()
        os.close(reader)
        os.dup2(output, 1)
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - for the rest of this process
        code = main(["status", "--runs", str(tmp_path)])
        sys.stdout.flush()  # as Python does at its end
        return code

    assert child(work).wait() == ExitCode.FAILED


def test_a_file_system_without_locks_is_one_line_in_every_command(
    spec: RunSpec,
    saving: Options,
    one_process: Processes,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As some file systems of clusters are."""

    def missing(*_: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    folder = fit(spec, saving, one_process).folder
    (folder / "result.json").unlink()
    monkeypatch.setattr("fcntl.flock", missing)
    with pytest.raises(InputError, match=r"lock cannot be locked \(Function not implemented\): .* use --runs on one that has"):
        fit(spec, saving, one_process)
    assert main(["status", "--runs", str(saving.runs)]) == 0
    assert "interrupted" in capsys.readouterr().out
    with pytest.raises(InputError, match="cannot be locked"), exclusive(folder / "uploader.lock"):  # as `sync` does
        pass


def test_every_file_of_a_run_has_the_mode_that_the_umask_leaves(spec: RunSpec, saving: Options, one_process: Processes) -> None:
    before = os.umask(0o027)
    try:
        folder = fit(spec, saving, one_process).folder
    finally:
        os.umask(before)
    assert {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir() if path.stat().st_mode & 0o777 != 0o640} == {}


def test_a_file_in_the_place_of_the_folder_of_runs_is_one_line(tmp_path: Path, spec: RunSpec, saving: Options) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        fit(spec, replace(saving, runs=tmp_path / "file"))
