"""Work shared by the tasks of a Slurm array: a script that needs nothing of ours but the command, or a submission by submitit.

Every task works through the same list of runs; the locks on the run folders divide it. A task that nears its time limit is
told so, saves, and is queued again.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from mgnet_train.errors import ExitCode, UserError

_WARNING_SECONDS = 120
_HOURS = 24
_MOST_TIMEOUTS = 1000


def array_script(command: Sequence[str], *, tasks: int, cpus: int, gpu: bool) -> str:
    """An sbatch script that runs the command in so many tasks, each with so many processors and, if asked, one GPU.

    Only a task that USR1 warned of its time limit goes back into the queue by itself: one that `scancel` ends with TERM must
    not, and one that is pre-empted with TERM is queued again by Slurm. A warning that comes while the command still starts
    ends it by that signal; then there was nothing to save.
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
            f"# USR1 comes {_WARNING_SECONDS} s before the time limit: the run saves, ends with {ExitCode.STOPPED}, comes again.",
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

    `folder` gets submitit's files. Raises UserError when submitit is missing.
    """
    try:
        import submitit
    except ImportError:
        raise UserError("--submitit needs the package submitit: install mgnet-train[slurm], or use --sbatch") from None
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
        self._process = subprocess.Popen(self._command)
        code = self._process.wait()
        if code:
            raise subprocess.CalledProcessError(code, self._command)

    def checkpoint(self) -> Any:
        """Called by submitit's signal handler in the midst of `__call__`: let the run save, and say what to queue again."""
        from submitit.helpers import DelayedSubmission

        with suppress(ProcessLookupError):
            os.kill(self._process.pid, signal.SIGUSR1)
        with suppress(ChildProcessError):  # not Popen.wait, which the interrupted call is inside of
            os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        return DelayedSubmission(Task(self._command))
