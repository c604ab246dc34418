"""Starting a command several times: one process for each GPU, the tasks of a Slurm array by a script, or by submitit.

All starts work through the same list of runs; the locks on the run folders divide it. A task of a cluster that nears its time
limit is warned, saves, and is queued again.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from mgnet_records.errors import ExitCode, InputError
from mgnet_train.errors import StoppedError
from mgnet_train.runs.signals import StopRequest

_WARNING_SECONDS = 120
_HOURS = 24
_MOST_TIMEOUTS = 1000
_MOST_RESTARTS = 10
_SECONDS_BETWEEN_LOOKS = 0.1


def run_in_parallel(commands: Sequence[Sequence[str]]) -> list[int]:
    """The exit codes of all commands. Raises StoppedError when a signal came before all had ended well."""
    with StopRequest() as stop:
        processes = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for command in commands]
        was_passed_on = False
        while any(process.poll() is None for process in processes):
            if stop.asked and not was_passed_on:
                was_passed_on = True
                for process in processes:
                    process.terminate()
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        codes = [process.wait() for process in processes]
        if stop.asked and any(codes):
            raise StoppedError("stopped by a signal; the same command goes on")
        return codes


def checked_options(options: Sequence[str]) -> dict[str, str | None]:
    """Options of sbatch, each `--name` or `--name=value`, as name and value; None where there is none. The last of a name counts.

    Raises InputError for another spelling, and for an option on which the script itself depends.
    """
    checked = {}
    for option in options:
        match = re.fullmatch(r"--([a-z][a-z0-9-]+)(?:=(.*))?", option)
        if match is None or not option.isprintable():
            raise InputError(
                f"--sbatch-arg {option!r} is no long option of sbatch in one line: write --sbatch-arg --name=value, as "
                "--sbatch-arg --partition=gpu"
            )
        name, value = match.groups()
        if name == "array":
            raise InputError(f"--sbatch-arg {option} would change the number of tasks: give it as --sbatch or --submitit")
        if name == "wrap":
            raise InputError(f"--sbatch-arg {option} would replace the script: leave it out")
        if name == "signal" and not re.fullmatch(r"B:(SIG)?USR1@[1-9][0-9]*", value or ""):
            raise InputError(f"--sbatch-arg {option} is no warning that a task hears: use --signal=B:USR1@SECONDS")
        checked[name] = value
    return checked


def _chooses_gpus(options: Mapping[str, str | None]) -> bool:
    """Whether the options say how many GPUs a task gets, so that no number of ours may stand beside them."""
    generic = " ".join(value or "" for name, value in options.items() if name == "gres" or name.startswith("tres-per-"))
    return any(name.startswith("gpus") for name in options) or re.search(r"\b(gpu|mps|shard|none)\b", generic) is not None


def array_script(
    command: Sequence[str], *, tasks: int, cpus: int, gpu: bool, folder: Path, options: Mapping[str, str | None] | None = None
) -> str:
    """An sbatch script that runs the command in so many tasks, each with so many processors and, if asked, one GPU.

    Tasks run in `folder`, wherever the script is submitted. `options` of sbatch (`checked_options`) come last, so they
    replace the script's own, and options on the command line of sbatch replace both.

    A task puts itself back into the queue only after USR1, the warning of its time limit. It must not after TERM: that is
    `scancel`, or preemption, after which Slurm queues the task again. A warning that arrives while the command still starts
    terminates it; then there was nothing to save. A task to which that happens after many restarts is not queued again: its
    time limit is too short, and it would never train.
    """
    options = options or {}
    directives = {
        "job-name": "mgnet",
        "array": f"0-{tasks - 1}",
        "nodes": "1",
        "ntasks": "1",
        "cpus-per-task": str(cpus),
        **({"gpus": "1"} if gpu and not _chooses_gpus(options) else {}),
        "requeue": None,
        "signal": f"B:USR1@{_WARNING_SECONDS}",
        "open-mode": "append",
        "chdir": str(folder),
    }
    directives |= options
    killed = 128 + signal.SIGUSR1
    return "\n".join(
        [
            "#!/bin/bash",
            *(f"#SBATCH {_directive(name, value)}" for name, value in directives.items()),
            f"# USR1 warns of the time limit: the run saves, exits {ExitCode.STOPPED}, is queued again.",
            "warned=no",
            "trap 'warned=yes; kill -USR1 \"$!\" 2>/dev/null' USR1",
            "trap 'kill -TERM \"$!\" 2>/dev/null' TERM",
            f"{shlex.join(command)} &",
            "# A signal ends a wait, not the command.",
            'wait "$!"',
            'while kill -0 "$!" 2>/dev/null; do wait "$!"; done',
            'wait "$!"; code=$?',
            f'if [ "$warned" = yes ] && [ "$code" -eq {killed} ] && [ "${{SLURM_RESTART_COUNT:-0}}" -ge {_MOST_RESTARTS} ]; then',
            '  echo "warned of the time limit while still starting, after $SLURM_RESTART_COUNT restarts: give a longer --time" >&2',
            f'elif [ "$warned" = yes ] && {{ [ "$code" -eq {ExitCode.STOPPED} ] || [ "$code" -eq {killed} ]; }}; then',
            '  scontrol requeue "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"',
            "fi",
            'exit "$code"',
        ]
    )


def _directive(name: str, value: str | None) -> str:
    """`--name=value` as sbatch reads it: only double quotes keep a blank, and in them a backslash takes the next character."""
    if value is None:
        return f"--{name}"
    if re.fullmatch(r"[\w.,:;@%+/=-]+", value, re.ASCII):
        return f"--{name}={value}"
    if not value.isprintable():
        raise InputError(f"{value!r} cannot be written in an sbatch script: use a name without control characters")
    escaped = re.sub(r'(["\\])', r"\\\1", value)
    return f'"--{name}={escaped}"'


def submit(
    command: Sequence[str], *, tasks: int, cpus: int, gpu: bool, folder: Path, options: Mapping[str, str | None] | None = None
) -> list[Any]:
    """Submit the command in so many tasks through submitit, to Slurm where it is, or else to processes on this machine.

    `folder` gets submitit's files; `options` of sbatch (`checked_options`) replace those of here. Raises InputError when
    submitit is missing, and for options of sbatch where there is no Slurm.
    """
    try:
        import submitit
    except ImportError:
        raise InputError("--submitit needs the package submitit: install mgnet-train[slurm], or use --sbatch") from None
    options = options or {}
    executor = submitit.AutoExecutor(folder=folder, slurm_max_num_timeout=_MOST_TIMEOUTS)
    if options and executor.cluster != "slurm":
        raise InputError("--sbatch-arg needs Slurm, which submitit does not find here: leave it out, or submit where srun is")
    if "signal" in options:
        raise InputError("--sbatch-arg --signal is submitit's own to set: use --sbatch instead of --submitit, or leave it out")
    executor.update_parameters(
        name="mgnet",
        nodes=1,
        tasks_per_node=1,
        cpus_per_task=cpus,
        gpus_per_node=1 if gpu and not _chooses_gpus(options) else None,
        timeout_min=_HOURS * 60,
        slurm_signal_delay_s=_WARNING_SECONDS,
        # By submitit's names, so that they replace its own; True is an option without a value.
        slurm_additional_parameters={name.replace("-", "_"): True if value is None else value for name, value in options.items()},
    )
    jobs: list[Any] = []
    with executor.batch():
        jobs += [executor.submit(Task(command)) for _ in range(tasks)]
    return jobs


class Task:
    """What submitit runs: the command as a process of its own. A warning stops it, and the task is queued again."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = [*command]

    def __call__(self) -> None:
        """Run to the end. Raises CalledProcessError for an exit code that is not 0."""
        # A warning between the start of the process and this assignment would find no process to pass it on to.
        warnings = {signal.SIGUSR1, signal.SIGUSR2}
        before = signal.pthread_sigmask(signal.SIG_BLOCK, warnings)
        try:
            self._process = subprocess.Popen(self._command, preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_SETMASK, before))
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        code = self._process.wait()
        if code:
            raise subprocess.CalledProcessError(code, self._command)

    def checkpoint(self) -> Any:
        """Called by submitit's signal handler in the middle of `__call__`: let the run save, and return what to queue again."""
        from submitit.helpers import DelayedSubmission

        with suppress(ProcessLookupError):
            os.kill(self._process.pid, signal.SIGUSR1)
        with suppress(ChildProcessError):  # not Popen.wait: the interrupted call is inside it
            os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        return DelayedSubmission(Task(self._command))
