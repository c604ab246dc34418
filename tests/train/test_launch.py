"""Slurm arrays: the printed script under a stand-in for sbatch, and submissions through submitit, all really run."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from mgnet_records.errors import ExitCode, InputError
from mgnet_records.provenance import UNKNOWN, CodeState
from mgnet_train import Options, RunSpec, fit
from mgnet_train.cli.main import main
from mgnet_train.config.execution import default_workers
from mgnet_train.errors import StoppedError
from mgnet_train.experiments.launch import Task, array_script, checked_options, run_in_parallel, submit
from mgnet_train.experiments.sweep import run_all
from mgnet_train.runs import run
from mgnet_train.runs.journal import JOURNAL, read_records
from mgnet_train.runs.lock import FolderLock
from mgnet_train.runs.signals import StopRequest
from mgnet_train.train.distributed import Processes
from train.reproduction import finished_once, reproduction

# What Slurm does with a script of ours: read its directives, start its tasks side by side, warn the batch shell alone with the
# signal it asked for once the file `warn` is there, and start tasks again that `scontrol requeue` names.
_SBATCH = r"""
import json, os, re, shlex, signal, subprocess, sys, time
from pathlib import Path
KNOWN = {"job-name", "array", "nodes", "ntasks", "cpus-per-task", "gpus", "requeue", "signal", "open-mode", "chdir"}
text = sys.stdin.read()
lines = text.splitlines()
assert lines[0].startswith("#!"), lines[0]
asked = {}
for line in lines[1:]:
    if line.startswith("#SBATCH "):
        word, = shlex.split(line.removeprefix("#SBATCH "))
        name, _, value = word.removeprefix("--").partition("=")
        if name not in KNOWN or name in asked:
            sys.exit(f"sbatch: error: {word}")
        asked[name] = value
    elif line.strip() and not line.startswith("#"):
        break
here = Path(os.environ["SLURM_TEST"])
(here / "asked.json").write_text(json.dumps(asked))
first, last = map(int, re.fullmatch(r"(\d+)-(\d+)", asked["array"]).groups())
shell, name, seconds = re.fullmatch(r"(B:)?([A-Z0-9]+)@(\d+)", asked["signal"]).groups()
def start(task):
    names = {"SLURM_JOB_ID": str(100 + task), "SLURM_ARRAY_JOB_ID": "100", "SLURM_ARRAY_TASK_ID": str(task)}
    return subprocess.Popen(["bash", "-c", text], env={**os.environ, **names}, cwd=asked["chdir"], stdin=subprocess.DEVNULL)
tasks, codes, warn = {task: start(task) for task in range(first, last + 1)}, [], here / "warn"
while tasks:
    time.sleep(0.02)
    if warn.exists():
        sent = warn.read_text() or name
        warn.unlink()
        for process in tasks.values():
            process.send_signal(getattr(signal, "SIG" + sent))
    for task, process in list(tasks.items()):
        if process.poll() is None:
            continue
        del tasks[task]
        codes.append([task, process.returncode])
        again = here / f"requeue.100_{task}"
        if again.exists():
            assert "requeue" in asked
            again.unlink()
            tasks[task] = start(task)
(here / "codes.json").write_text(json.dumps(codes))
"""
_SCONTROL = '#!/bin/sh\n[ "$1" = requeue ] && touch "$SLURM_TEST/requeue.$2"\n'


class Slurm:
    """The stand-in: its folder has the programs, what was asked for, and how each start of a task ended."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name, text in (("sbatch", f"#!{sys.executable}\n{_SBATCH}"), ("scontrol", _SCONTROL)):
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)
        self._env = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "SLURM_TEST": str(folder)}

    def run(self, script: str, *, warn_when: Callable[[], bool] | None = None, with_signal: str = "") -> list[list[int]]:
        """(task, exit code) of all starts, in the order of their ends; once `warn_when` says so, all tasks get the signal."""
        if warn_when is not None:
            threading.Thread(target=self._warn, args=(warn_when, with_signal), daemon=True).start()
        subprocess.run(["sbatch"], input=script, text=True, check=True, env=self._env, timeout=300)
        codes: list[list[int]] = json.loads((self.folder / "codes.json").read_text())
        return codes

    @property
    def asked(self) -> dict[str, str]:
        asked: dict[str, str] = json.loads((self.folder / "asked.json").read_text())
        return asked

    def _warn(self, warn_when: Callable[[], bool], with_signal: str) -> None:
        while not warn_when():
            time.sleep(0.01)
        (self.folder / "warn").write_text(with_signal)


@pytest.fixture
def slurm(tmp_path: Path) -> Slurm:
    folder = tmp_path / "slurm bin"
    folder.mkdir()
    return Slurm(folder)


def _script(command: Sequence[str], *, tasks: int = 1, gpu: bool = False) -> str:
    return array_script(command, tasks=tasks, cpus=3, gpu=gpu, folder=Path.cwd())


def test_the_script_asks_slurm_for_what_a_task_needs(slurm: Slurm) -> None:
    assert slurm.run(_script(["true"], tasks=3, gpu=True)) == [[task, 0] for task in range(3)]
    assert slurm.asked == {
        "job-name": "mgnet", "array": "0-2", "nodes": "1", "ntasks": "1", "cpus-per-task": "3", "gpus": "1", "requeue": "",
        "signal": "B:USR1@120", "open-mode": "append", "chdir": os.getcwd(),
    }  # fmt: skip
    slurm.run(_script(["true"]))
    assert "gpus" not in slurm.asked


def test_words_of_the_command_reach_it_whole(slurm: Slurm, tmp_path: Path) -> None:
    words = ["a b", "$HOME", "it's", "wds/{0..3}", "*", 'MgNet[2,2]-[8]-B^l "x"']
    out = tmp_path / "words.json"
    code = "import json, sys; open(sys.argv[1], 'w').write(json.dumps(sys.argv[2:]))"
    assert slurm.run(_script([sys.executable, "-c", code, str(out), *words])) == [[0, 0]]
    assert json.loads(out.read_text()) == words


def _work(folder: Path, *, at_signal: str) -> list[str]:
    """A command that waits for a signal when it is first started, and does nothing when it is started again."""
    text = f'[ -e {folder}/began ] && exit 0; trap "{at_signal}" USR1 TERM; touch {folder}/began; while :; do sleep 0.02; done'
    return ["sh", "-c", text]


@pytest.mark.parametrize(
    "at_signal, sent, codes",
    [
        ("exit 75", "", [[0, 75], [0, 0]]),  # warned: saved, queued again, finished
        ("trap - USR1; kill -USR1 $$", "", [[0, 138], [0, 0]]),  # warned before it could listen
        ("exit 75", "TERM", [[0, 75]]),  # scancel: saved, not queued again
        ("exit 70", "", [[0, 70]]),  # failed while it was warned
    ],
)
def test_only_a_task_that_was_warned_of_its_time_limit_and_could_go_on_is_queued_again(
    slurm: Slurm, tmp_path: Path, at_signal: str, sent: str, codes: list[list[int]]
) -> None:
    script = _script(_work(tmp_path, at_signal=at_signal))
    assert slurm.run(script, warn_when=(tmp_path / "began").exists, with_signal=sent) == codes


def test_a_task_whose_time_limit_is_too_short_to_begin_is_not_queued_again_for_ever(tmp_path: Path) -> None:
    """It ends with a line that says so; with fewer restarts it is queued again."""
    requeued = tmp_path / "requeued"
    (tmp_path / "scontrol").write_text(f'#!/bin/sh\necho "$*" >> {requeued}\n')
    (tmp_path / "scontrol").chmod(0o755)
    script = _script(["sh", "-c", "kill -USR1 $PPID; exec sleep 30"])  # a command that does not listen yet
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "0"}
    for restarts, lines in (("1", 1), ("9", 2), ("10", 2)):
        env["SLURM_RESTART_COUNT"] = restarts
        done = subprocess.run(["bash", "-c", script], env=env, capture_output=True, text=True, check=False, timeout=20)
        assert done.returncode == 128 + signal.SIGUSR1
        assert len(requeued.read_text().splitlines()) == lines
        assert ("give a longer --time" in done.stderr) == (restarts == "10")


@pytest.mark.parametrize("code", [0, 1, 2, 66, 70, 75])
def test_a_task_that_nobody_warned_ends_with_the_exit_code_of_the_command(slurm: Slurm, code: int) -> None:
    assert slurm.run(_script(["sh", "-c", f"exit {code}"])) == [[0, code]]


def test_the_command_in_the_script_is_this_one_without_the_request_for_a_script(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ["reproduce", "v2/table2", "--device", "cpu", "--workers", "2", "--runs", str(tmp_path / "my runs")]
    assert main([*words, "--sbatch", "9"]) == 0
    script = capsys.readouterr().out
    assert main([*words, "--sbatch=9"]) == 0
    assert capsys.readouterr().out == script
    (command,) = [shlex.split(line.removesuffix(" &")) for line in script.splitlines() if line.endswith(" &")]
    assert command[1:-2] == ["-m", "mgnet_train", *words]
    assert command[-2] == "--commit"
    assert "#SBATCH --array=0-3\n" in script
    assert "#SBATCH --cpus-per-task=3\n" in script
    assert "--gpus" not in script
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_a_task_says_the_state_of_the_code_and_its_workers(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit between the submission and a start would begin other runs, and leave the first ones behind unfinished."""
    states = {"1" * 40: CodeState(sha="1" * 40, dirty=False), "1" * 40 + "+dirty": CodeState(sha="1" * 40, dirty=True)}
    words = ["reproduce", "v2/table2", "--dry-run"]
    for name, code in {**states, "unknown": UNKNOWN}.items():
        monkeypatch.setattr("mgnet_train.config.run_spec.current_code", lambda code=code: code)
        assert main([*words, "--sbatch", "1"]) == 0
        assert f" --workers {default_workers()} --commit {name} &\n" in capsys.readouterr().out
        for said in (*states, "unknown"):
            assert main([*words, "--commit", said]) == (0 if said == name else 2)
            captured = capsys.readouterr()
            assert (f"the code is at {name} and --commit says {said}" in captured.err) == (said != name)


@pytest.mark.parametrize("file", ["slurm-12_0.out", "table3.sbatch", "runs/submitit/12_0_0_log.out"])
def test_what_a_cluster_writes_beside_the_code_does_not_make_it_dirty(file: str) -> None:
    root = Path(__file__).parents[2]
    assert subprocess.run(["git", "check-ignore", "--quiet", file], cwd=root, check=False).returncode == 0


def test_options_of_sbatch_replace_those_of_the_script(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["reproduce", "v2/table2", "--sbatch=2", "--sbatch-arg", "--gres=gpu:a100:1", "--sbatch-arg=--nodes=2-2"]
    assert main([*words, "--sbatch-arg", "--signal=B:USR1@600", "--sbatch-arg=--exclusive", "--sbatch-arg=--comment=a b"]) == 0
    script = capsys.readouterr().out
    for line in ("--gres=gpu:a100:1", "--nodes=2-2", "--signal=B:USR1@600", "--exclusive", '"--comment=a b"'):
        assert script.splitlines().count(f"#SBATCH {line}") == 1
    assert "--gpus" not in script
    assert script.count("--nodes") == script.count("--signal") == 1
    assert "sbatch-arg" not in script


@pytest.mark.parametrize(
    "option, has_ours",
    [
        ("--gres=gpu:1", False),
        ("--gres=gpu:a100:1,tmpfs:10G", False),
        ("--gres=tmpfs:10G", True),  # no GPU, but a disk of the node
        ("--gres=shard:4", False),
        ("--gres=none", False),
        ("--gres-flags=enforce-binding", True),
        ("--gpus=2", False),
        ("--gpus-per-node=1", False),
        ("--gpus-per-task=a100:1", False),
        ("--tres-per-task=gres/gpu:1", False),
        ("--partition=gpu", True),
    ],
)
def test_one_gpu_is_requested_unless_the_user_says_how_many(option: str, has_ours: bool) -> None:
    script = array_script(["true"], tasks=1, cpus=1, gpu=True, folder=Path("/"), options=checked_options([option]))
    assert ("#SBATCH --gpus=1" in script) == has_ours
    assert f"#SBATCH {option}" in script


@pytest.mark.parametrize(
    "options, complaint",
    [
        (["gpu"], "is no long option"),
        (["-pgpu"], "is no long option"),
        (["--partition gpu"], "is no long option"),
        (["--comment=a\nrm -rf x"], "is no long option"),
        (["--"], "is no long option"),
        ([""], "is no long option"),
        (["--array=0-99"], "number of tasks"),
        (["--time=1:00:00", "--wrap=true"], "replace the script"),
        (["--signal=TERM@60"], "use --signal=B:USR1@SECONDS"),
        (["--signal=USR1@60"], "use --signal=B:USR1@SECONDS"),
        (["--signal"], "use --signal=B:USR1@SECONDS"),
    ],
)
def test_options_that_would_break_the_script_are_rejected(
    capsys: pytest.CaptureFixture[str], options: list[str], complaint: str
) -> None:
    assert main(["reproduce", "v2/table2", "--sbatch", "2", *(f"--sbatch-arg={option}" for option in options)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    assert complaint in captured.err
    assert options[-1].partition("\n")[0] in captured.err


def test_options_of_sbatch_without_tasks_are_rejected(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "v2/table2", "--sbatch-arg=--time=1:00:00", "--dry-run"]) == 2
    assert "give --sbatch TASKS or --submitit TASKS too" in capsys.readouterr().err


def test_a_folder_whose_name_no_script_can_hold_is_rejected() -> None:
    with pytest.raises(InputError, match="cannot be written in an sbatch script"):
        array_script(["true"], tasks=1, cpus=1, gpu=False, folder=Path("runs/a\n#SBATCH --exclusive"))


def test_paths_that_are_no_text_are_printed_as_they_are(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    runs = os.fsencode(tmp_path) + b"/\xff"
    assert main(["reproduce", "v2/table2", "--sbatch", "1", "--runs", os.fsdecode(runs)]) == 0
    assert b"--runs '" + runs + b"'" in capfdbinary.readouterr().out


def test_an_abbreviated_option_is_rejected(capsys: pytest.CaptureFixture[str]) -> None:
    """Or each task of `--submit 4` would submit four more."""
    with pytest.raises(SystemExit) as end:
        main(["reproduce", "v2/table2", "--submit", "4"])
    assert end.value.code == 2
    assert "unrecognized arguments: --submit 4" in capsys.readouterr().err


@pytest.fixture
def submitit() -> Any:
    return pytest.importorskip("submitit", reason="submitit is missing: install mgnet-train[slurm]")


@pytest.fixture
def no_slurm(submitit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks are processes of this machine, even where it has a Slurm."""
    monkeypatch.setattr(submitit.SlurmExecutor, "affinity", lambda: -1)


@pytest.mark.usefixtures("no_slurm")
def test_options_of_sbatch_are_rejected_where_submitit_finds_no_slurm(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="needs Slurm"):
        submit(["true"], tasks=1, cpus=1, gpu=False, folder=tmp_path, options={"time": "60"})
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("no_slurm")
def test_submitit_runs_tasks_and_reports_those_that_fail(tmp_path: Path, submitit: Any) -> None:
    jobs = submit(["sh", "-c", f"echo done >> {tmp_path}/out"], tasks=2, cpus=1, gpu=False, folder=tmp_path / "submitit")
    jobs += submit(["sh", "-c", "exit 70"], tasks=1, cpus=1, gpu=False, folder=tmp_path / "submitit")
    assert [job.result() for job in jobs[:2]] == [None, None]
    assert (tmp_path / "out").read_text() == "done\ndone\n"
    with pytest.raises(submitit.core.utils.FailedJobError, match="returned non-zero exit status 70"):
        jobs[2].result()


@pytest.mark.usefixtures("no_slurm")
def test_a_task_of_submitit_that_is_warned_lets_the_run_save_and_is_queued_again(tmp_path: Path) -> None:
    began, saved = tmp_path / "began", tmp_path / "saved"
    at_signal = f"sleep 0.3; touch {saved}; exit {ExitCode.STOPPED}"
    text = f'[ -e {saved} ] && exit 0; trap "{at_signal}" USR1; echo $PPID > {began}; while :; do sleep 0.02; done'
    (job,) = submit(["sh", "-c", text], tasks=1, cpus=1, gpu=False, folder=tmp_path / "submitit")
    deadline = time.monotonic() + 30
    while not (began.exists() and began.read_text().strip()):
        assert time.monotonic() < deadline, "the task did not begin"
        time.sleep(0.01)
    assert not saved.exists()
    os.kill(int(began.read_text()), signal.SIGUSR2)
    assert job.result() is None
    assert saved.exists()
    assert "Requeued job" in job.stderr() + job.stdout()


@pytest.mark.usefixtures("submitit")
def test_a_warning_that_comes_when_the_command_has_just_ended_is_no_error() -> None:
    task = Task(["true"])
    task()
    assert task.checkpoint().function._command == ["true"]


@pytest.mark.usefixtures("submitit")
def test_submitit_asks_slurm_for_the_same(tmp_path: Path, slurm: Slurm, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to the script that it hands to sbatch."""
    for name, text in (("sbatch", f'#!/bin/sh\ncp "$1" {tmp_path}/script\necho Submitted batch job 7\n'), ("srun", "#!/bin/sh\n")):
        (slurm.folder / name).write_text(text)
        (slurm.folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{slurm.folder}:{os.environ['PATH']}")
    options = checked_options(["--gres=gpu:a100:1", "--cpus-per-task=5", "--exclusive", "--comment=it's"])
    submit(["true"], tasks=3, cpus=4, gpu=True, folder=tmp_path / "submitit", options=options)
    theirs = (tmp_path / "script").read_text()
    for directive in ("gres=gpu:a100:1", "cpus-per-task=5", "exclusive", """comment='it'"'"'s'"""):
        assert theirs.splitlines().count(f"#SBATCH --{directive}") == 1
    assert "gpus" not in theirs
    assert theirs.count("cpus-per-task") == 1
    jobs = submit(["true"], tasks=3, cpus=4, gpu=True, folder=tmp_path / "submitit")
    assert [job.job_id for job in jobs] == ["7_0", "7_1", "7_2"]
    script = (tmp_path / "script").read_text()
    for directive in (
        "array=0-2%3",
        "cpus-per-task=4",
        "gpus-per-node=1",
        "signal=USR2@120",
        "time=1440",
        "nodes=1",
        "ntasks-per-node=1",
    ):
        assert f"#SBATCH --{directive}\n" in script


def test_without_submitit_the_error_names_the_extra_and_the_alternative(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    assert main(["reproduce", "v2/table2", "--submitit", "2", "--runs", str(tmp_path)]) == 2
    assert "needs the package submitit: install mgnet-train[slurm], or use --sbatch" in capsys.readouterr().err


def test_a_signal_between_two_runs_ends_a_sweep_with_75_and_it_goes_on(
    tiny_spec: Callable[..., RunSpec], quietly: Options, one_process: Processes, child: Callable[[Callable[[], int]], Any]
) -> None:
    specs = [tiny_spec(seed=seed, epochs="1") for seed in range(2)]
    fit(specs[0], quietly, one_process)  # here, so that the children find everything imported
    signalled = quietly.runs / "signalled"

    def say(line: str) -> None:
        if line.startswith("[1/2]") and not signalled.exists():
            signalled.touch()
            os.kill(os.getpid(), signal.SIGUSR1)

    def work() -> int:
        return len(run_all(specs, quietly, one_process, say))

    assert child(work).wait() == ExitCode.STOPPED
    assert [(quietly.runs / spec.folder_name).exists() for spec in specs] == [True, False]
    assert child(work).wait() == 0
    assert (quietly.runs / specs[1].folder_name / "result.json").exists()


def test_a_sweep_comes_back_to_a_run_that_its_first_holder_left(
    tiny_spec: Callable[..., RunSpec], quietly: Options, one_process: Processes
) -> None:
    """As after a node died: the process that held the lock is gone when the other runs are done."""
    specs = [tiny_spec(seed=seed, epochs="1") for seed in range(2)]
    folder = quietly.runs / specs[0].folder_name
    folder.mkdir(parents=True)
    lock = FolderLock(folder)
    lines: list[str] = []

    def say(line: str) -> None:
        lines.append(line)
        if line.startswith("[2/2]"):
            lock.release()

    assert run_all(specs, quietly, one_process, say) == []
    assert [(quietly.runs / spec.folder_name / "result.json").exists() for spec in specs] == [True, True]
    assert [line.partition(" ")[0] for line in lines] == ["[1/2]", "[2/2]", "[1/2]"]


def test_a_sweep_ends_while_another_process_trains_and_says_so(
    tiny_spec: Callable[..., RunSpec], quietly: Options, one_process: Processes
) -> None:
    specs = [tiny_spec(seed=seed, epochs="1") for seed in range(2)]
    folder = quietly.runs / specs[1].folder_name
    folder.mkdir(parents=True)
    lock = FolderLock(folder)
    lines: list[str] = []
    assert run_all(specs, quietly, one_process, lines.append) == []
    lock.release()
    assert lines[-1].startswith("1 of 2 runs are left to the processes that train them")


def test_a_run_that_another_process_finished_meanwhile_is_not_finished_twice(
    tiny_spec: Callable[..., RunSpec], quietly: Options, one_process: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at its result and its lock, while data are loaded."""
    spec = tiny_spec(epochs="1")
    load, loads = run.load_dataset, 0

    def load_slowly(*arguments: Any, **settings: Any) -> Any:
        nonlocal loads
        loads += 1
        if loads == 1:
            fit(spec, quietly, one_process)
        return load(*arguments, **settings)

    monkeypatch.setattr(run, "load_dataset", load_slowly)
    outcome = fit(spec, quietly, one_process)
    assert outcome.was_finished
    assert [record.kind for record in read_records(outcome.folder / JOURNAL, 0)[0] if record.kind != "step"] == ["epoch", "end"]


def test_a_run_that_is_busy_is_left_by_all_processes_together(
    tiny_spec: Callable[..., RunSpec], quietly: Options, together: Callable[[Callable[[Processes], object]], list[Any]]
) -> None:
    """Else the others would wait for the main one in this run, while it is in the next."""
    specs = [tiny_spec(seed=seed, epochs="1") for seed in range(2)]
    folder = quietly.runs / specs[0].folder_name
    folder.mkdir(parents=True)
    lock = FolderLock(folder)
    members = together(lambda processes: run_all(specs, quietly, processes, lambda line: None))
    assert [member.wait() for member in members] == [0, 0]
    lock.release()
    assert [(quietly.runs / spec.folder_name / "result.json").exists() for spec in specs] == [False, True]


def test_a_signal_while_the_next_run_is_prepared_is_not_lost(
    tiny_spec: Callable[..., RunSpec], quietly: Options, one_process: Processes
) -> None:
    with StopRequest():
        os.kill(os.getpid(), signal.SIGUSR1)
        with pytest.raises(StoppedError):
            fit(tiny_spec(), quietly, one_process)
    assert fit(tiny_spec(), quietly, one_process).result.epochs == 2


def test_a_signal_after_the_last_step_is_kept_for_what_comes_next() -> None:
    with StopRequest() as outer:
        with StopRequest():
            os.kill(os.getpid(), signal.SIGTERM)
        assert outer.asked


def test_commands_in_parallel_are_stopped_together(tmp_path: Path, child: Callable[[Callable[[], int]], Any]) -> None:
    waiting = [["sh", "-c", f'trap "exit 75" TERM; touch {tmp_path}/{i}; while :; do sleep 0.02; done'] for i in range(2)]
    parent = child(lambda: max(run_in_parallel(waiting)))
    deadline = time.monotonic() + 20
    while len(list(tmp_path.iterdir())) < 2:
        assert time.monotonic() < deadline, "the commands did not begin"
        time.sleep(0.01)
    parent.kill(signal.SIGUSR1)
    assert parent.wait() == ExitCode.STOPPED
    assert run_in_parallel([["true"], ["false"]]) == [0, 1]


@pytest.mark.nightly
def test_the_printed_script_trains_every_planned_run_exactly_once(
    slurm: Slurm, tiny_mnist: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "my runs"
    assert main([*reproduction(tiny_mnist, runs), "--epochs", "1", "--sbatch", "3"]) == 0
    assert sorted(slurm.run(capsys.readouterr().out)) == [[0, 0], [1, 0], [2, 0]]
    assert finished_once(runs)


@pytest.mark.nightly
def test_a_warned_training_is_queued_again_and_goes_on_where_it_was(
    slurm: Slurm,
    tiny_mnist: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    final_state: Callable[[Path], object],
) -> None:
    runs = tmp_path / "runs"
    words = reproduction(tiny_mnist, runs)
    words[1:2] = ["v2/table2/resnet18_A-Bi/mnist", "--epochs", "6"]
    assert main([*words, "--sbatch", "1"]) == 0
    journal = "*/journal.jsonl"
    codes = slurm.run(capsys.readouterr().out, warn_when=lambda: any(path.stat().st_size for path in runs.glob(journal)))
    assert codes == [[0, ExitCode.STOPPED], [0, 0]]
    undisturbed = tmp_path / "undisturbed"
    assert main([*words[:-1], str(undisturbed)]) == 0
    assert final_state(next(runs.glob(journal)).parent) == final_state(next(undisturbed.glob(journal)).parent)


@pytest.mark.nightly
@pytest.mark.usefixtures("submitit")
@pytest.mark.skipif(shutil.which("srun") is not None, reason="it would be submitted to this machine's Slurm")
def test_a_table_submitted_through_submitit_is_trained_exactly_once(tiny_mnist: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    words = [*reproduction(tiny_mnist, runs), "--epochs", "1", "--submitit", "2"]
    subprocess.run([sys.executable, "-m", "mgnet_train", *words], check=True)
    deadline = time.monotonic() + 300
    while len(list(runs.glob("*/result.json"))) < 4:
        assert time.monotonic() < deadline, "the tasks did not finish"
        time.sleep(0.2)
    assert finished_once(runs)
