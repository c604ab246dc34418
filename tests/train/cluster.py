"""A cluster of one node on this machine: munge, slurmctld and slurmd with a configuration, a key and ports of their own.

Nothing of it needs root: all daemons and all jobs belong to the user who tests. The node has four processors and two GPUs,
which are files without meaning; Slurm only counts them. No cgroups are used.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from getpass import getuser
from pathlib import Path

import pytest

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scancel", "scontrol", "squeue")
MISSING = [name for name in PROGRAMS if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None]

needs_slurm = pytest.mark.skipif(bool(MISSING), reason=f"{', '.join(MISSING)} missing: apt-get install slurm-wlm munge")

_CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
# A job that is queued again may start when its credential has expired: after 5 s, not the usual 120.
AuthInfo=socket={folder}/munge.sock,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=1
# A machine that is busy with other tests must not look like a dead node.
SlurmdTimeout=120
KillWait=10
ReturnToService=2
GresTypes=gpu
SlurmdParameters=config_overrides
NodeName=node NodeHostname={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=1000 Gres=gpu:2
PartitionName=all Nodes=node Default=YES MaxTime=INFINITE State=UP
"""


class Cluster:
    """The daemons, and what a user of the cluster does with it. `env` is the environment of that user's commands."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {
            **os.environ,
            "SLURM_CONF": str(folder / "slurm.conf"),
            "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin",
        }
        for name in ("state", "spool"):
            (folder / name).mkdir()
        for gpu in range(2):
            (folder / f"gpu{gpu}").touch()
        controller_port, node_port = _free_ports(2)
        host = socket.gethostname().partition(".")[0]
        (folder / "slurm.conf").write_text(
            _CONF.format(host=host, controller_port=controller_port, node_port=node_port, user=getuser(), folder=folder)
        )
        (folder / "gres.conf").write_text(f"Name=gpu File={folder}/gpu[0-1]\n")
        key = folder / "munge.key"
        key.touch(0o600)
        key.write_bytes(secrets.token_bytes(128))
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """Start the three daemons and wait until the node takes jobs."""
        own = {option: self.folder / f"munge.{option}" for option in ("log", "pid", "seed")}
        files = [f"--{option}-file={path}" for option, path in own.items()]
        sock = self.folder / "munge.sock"
        self._daemon("munged", "--foreground", "--force", f"--key-file={self.folder}/munge.key", f"--socket={sock}", *files)
        wait_for(sock.exists, "munged's socket")
        self._daemon("slurmctld", "-D", "-c")
        self.start_node()

    def start_node(self) -> None:
        """Start slurmd and wait until the controller has its node."""
        self._daemon("slurmd", "-D", "-N", "node")
        wait_for(lambda: self.node_state() in {"IDLE", "MIXED", "ALLOCATED"}, "a node that takes jobs", log=self.log)

    def kill_node(self) -> None:
        """End everything on the node at once, as a power failure does: slurmd, its job steps and all that they started."""
        kept = {daemon.pid for name, daemon in self._daemons.items() if name != "slurmd"}
        for pid in self._processes() - kept:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._daemons.pop("slurmd").wait()

    def kill_daemon(self, name: str) -> None:
        """Kill one daemon and nothing else."""
        self._daemons[name].kill()
        self._daemons.pop(name).wait()

    def cancel_all(self) -> None:
        """Cancel all jobs and wait until they have ended."""
        self.tell("scancel", "--user", getuser(), "--quiet")
        wait_for(lambda: self.tell("squeue", "--noheader") == "", "the end of all jobs", log=self.log)

    def stop(self) -> None:
        """Cancel all jobs and end the daemons."""
        if "slurmctld" in self._daemons:
            with suppress(AssertionError):  # the daemons must be ended in any case
                self.cancel_all()
        for name in ("slurmd", "slurmctld", "munged"):
            if name in self._daemons:
                self._daemons[name].terminate()
        for daemon in self._daemons.values():
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()

    def tell(self, *words: str) -> str:
        """What a command of Slurm prints; fails with its complaint."""
        done = subprocess.run(words, env=self.env, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout.strip()

    def sbatch(self, script: str, *options: str, cwd: Path | None = None) -> str:
        """Submit a script and return the job's id."""
        file = self.folder / "script.sh"
        file.write_text(script)
        done = subprocess.run(
            ["sbatch", "--parsable", *options, str(file)],
            env=self.env,
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def jobs(self, job: str) -> list[Mapping[str, str]]:
        """What the controller says of each task of a job, in the order of tasks."""
        tasks = [_fields(line) for line in self.tell("scontrol", "--oneliner", "show", "job", job).splitlines()]
        return sorted(tasks, key=lambda task: int(task.get("ArrayTaskId", "0").partition("-")[0]))

    def wait(self, job: str, *, states: Sequence[str] = ("COMPLETED",), seconds: float = 400.0) -> list[Mapping[str, str]]:
        """Wait until all tasks of a job have ended; fails when one ended in another state than those."""
        ended = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY"}
        wait_for(
            lambda: all(task["JobState"] in ended for task in self.jobs(job)),
            f"the end of job {job}",
            seconds=seconds,
            log=lambda: f"{self.jobs(job)}\n{self.log()}",
        )
        tasks = self.jobs(job)
        assert {task["JobState"] for task in tasks} <= {*states}, "\n".join(
            [f"{task['JobState']}: {Path(task['StdOut']).read_text()}" for task in tasks]
        )
        return tasks

    def node_state(self) -> str:
        """IDLE, MIXED, DOWN and so on; marks such as * are left out."""
        return _fields(self.tell("scontrol", "--oneliner", "show", "node", "node"))["State"].partition("+")[0].rstrip("*~#!%$@^-")

    def log(self) -> str:
        """The last lines of each daemon's log."""
        return "\n".join(f"{path.name}: {line}" for path in sorted(self.folder.glob("*.log")) for line in _tail(path))

    def _processes(self) -> set[int]:
        """All processes of the cluster: they have its configuration in their environment."""
        mark = f"SLURM_CONF={self.folder}/".encode()
        found = set()
        for path in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                if mark in path.read_bytes():
                    found.add(int(path.parent.name))
        return found

    def _daemon(self, *words: str) -> None:
        with (self.folder / f"{words[0]}.log").open("ab") as log:
            self._daemons[words[0]] = subprocess.Popen(
                words, env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )


def wait_for(condition: Callable[[], bool], what: str, *, seconds: float = 120.0, log: Callable[[], str] = lambda: "") -> None:
    """Return when the condition holds; fail when that takes longer."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if condition():
                return
        except AssertionError:  # a command of Slurm failed; the controller may be starting
            if time.monotonic() > deadline:
                raise
        assert time.monotonic() < deadline, f"{what}: not within {seconds:.0f} s\n{log()}"
        time.sleep(0.1)


def _free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _fields(line: str) -> dict[str, str]:
    """`Key=value` pairs of a line of scontrol; of a value with spaces, the first word."""
    return dict(word.split("=", 1) for word in line.split() if "=" in word)


def _tail(path: Path) -> list[str]:
    return path.read_text(errors="replace").splitlines()[-15:]
