"""Starting a command several times: one process for each GPU, the tasks of a Slurm array by a script, or by submitit.

All starts work through the same list of runs; the locks on the run folders divide it. A task of a cluster that nears its time
limit is warned, saves, and is queued again.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from mgnet_records.errors import ExitCode, InputError
from mgnet_train.errors import StoppedError
from mgnet_train.runs.signals import StopRequest

_WARNING_SECONDS = 120
_HOURS = 24
_MOST_TIMEOUTS = 1000
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


def array_script(command: Sequence[str], *, tasks: int, cpus: int, gpu: bool) -> str:
    """An sbatch script that runs the command in so many tasks, each with so many processors and, if asked, one GPU.

    A task puts itself back into the queue only after USR1, the warning of its time limit. It must not after TERM: that is
    `scancel`, or preemption, after which Slurm queues the task again. A warning that arrives while the command still starts
    terminates it; then there was nothing to save.
    """
    directives = [
        "--job-name=mgnet",
        f"--array=0-{tasks - 1}",
        "--nodes=1",
        "--ntasks=1",
        f"--cpus-per-task={cpus}",
        *(["--gpus=1"] if gpu else []),
        "--requeue",
        f"--signal=B:USR1@{_WARNING_SECONDS}",
        "--open-mode=append",
    ]
    killed = 128 + signal.SIGUSR1
    return "\n".join(
        [
            "#!/bin/bash",
            *(f"#SBATCH {directive}" for directive in directives),
            f"# USR1 comes {_WARNING_SECONDS} s before the time limit: the run saves, exits {ExitCode.STOPPED}, is queued again.",
            "warned=no",
            "trap 'warned=yes; kill -USR1 \"$!\"' USR1",
            "trap 'kill -TERM \"$!\"' TERM",
            f"{shlex.join(command)} &",
            "# A signal ends a wait, not the command.",
            'wait "$!"',
            'while kill -0 "$!" 2>/dev/null; do wait "$!"; done',
            'wait "$!"; code=$?',
            f'if [ "$warned" = yes ] && {{ [ "$code" -eq {ExitCode.STOPPED} ] || [ "$code" -eq {killed} ]; }}; then',
            '  scontrol requeue "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"',
            "fi",
            'exit "$code"',
        ]
    )


def submit(command: Sequence[str], *, tasks: int, cpus: int, gpu: bool, folder: Path) -> list[Any]:
    """Submit the command in so many tasks through submitit, to Slurm where it is, or else to processes on this machine.

    `folder` gets submitit's files. Raises InputError when submitit is missing.
    """
    try:
        import submitit
    except ImportError:
        raise InputError("--submitit needs the package submitit: install mgnet-train[slurm], or use --sbatch") from None
    executor = submitit.AutoExecutor(folder=folder, slurm_max_num_timeout=_MOST_TIMEOUTS)
    executor.update_parameters(
        name="mgnet",
        nodes=1,
        tasks_per_node=1,
        cpus_per_task=cpus,
        gpus_per_node=1 if gpu else None,
        timeout_min=_HOURS * 60,
        slurm_signal_delay_s=_WARNING_SECONDS,
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
