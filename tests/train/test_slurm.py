"""What `reproduce --sbatch` prints and `--submitit` submits, on a real Slurm of one node: shared plans, time limits, scancel,
preemption and dead nodes. Each disturbed training ends with the bits of an undisturbed one.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from mgnet_records.errors import ExitCode
from mgnet_train.cli.main import main
from mgnet_train.experiments.launch import array_script, checked_options
from mgnet_train.runs.journal import JOURNAL, read_records
from train.cluster import Cluster, needs_slurm, wait_for
from train.reproduction import finished_once, reproduction

pytestmark = [pytest.mark.nightly, needs_slurm]

_EPOCHS = 8
_MANY_EPOCHS = 45  # long enough for a warning that comes within 30 s of the first step


@pytest.fixture
def cluster(daemons: Cluster) -> Iterator[Cluster]:
    """The cluster, without jobs of other tests."""
    yield daemons
    daemons.cancel_all()


@pytest.fixture(scope="module")
def daemons() -> Iterator[Cluster]:
    """Not in pytest's folders: the path of a socket may have 107 characters."""
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    cluster = Cluster(folder)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, tiny_mnist: Path) -> Callable[[int], Path]:
    """The folder of the run of so many epochs, trained by one start."""

    @cache
    def train(epochs: int) -> Path:
        runs = tmp_path_factory.mktemp("undisturbed")
        assert main(_one_run(tiny_mnist, runs, epochs)) == 0
        return _run_of(runs)

    return train


def _one_run(data: Path, runs: Path, epochs: int = _EPOCHS) -> list[str]:
    words = reproduction(data, runs)
    words[1:2] = ["v2/table2/resnet18_A-Bi/mnist", "--epochs", str(epochs)]
    return words


def _run_of(runs: Path) -> Path:
    (config,) = runs.glob("*/config.json")
    return config.parent


def _script(words: list[str], *, tasks: int, options: tuple[str, ...] = (), cwd: Path) -> str:
    """What this command prints with --sbatch, in a folder."""
    extra = [f"--sbatch-arg={option}" for option in options]
    call = [sys.executable, "-m", "mgnet_train", *words, "--sbatch", str(tasks), *extra]
    done = subprocess.run(call, cwd=cwd, capture_output=True, text=True, check=True)
    return done.stdout


def _trains(runs: Path) -> bool:
    return any(path.stat().st_size for path in runs.glob(f"*/{JOURNAL}"))


def _reach_the_time_limit(cluster: Cluster, job: str, runs: Path) -> None:
    """Once the task trains, end its time in two minutes, of which it is warned; give it time again when it is queued again."""
    wait_for(lambda: _trains(runs), "a training", log=cluster.log)
    minutes = sum(60**power * int(part) for power, part in enumerate(reversed(cluster.jobs(job)[0]["RunTime"].split(":")))) // 60
    cluster.tell("scontrol", "update", f"JobId={job}", f"TimeLimit={minutes + 2}")
    wait_for(lambda: cluster.jobs(job)[0]["Restarts"] == "1", "a task that is queued again", seconds=200, log=cluster.log)
    cluster.tell("scontrol", "update", f"JobId={job}", "TimeLimit=60")


def _starts(runs: Path) -> int:
    """How many starts of the one run have ended, as its journal says."""
    return sum(record.kind == "end" for record in read_records(_run_of(runs) / JOURNAL, 0)[0])


def test_an_array_shares_a_plan_and_no_run_is_trained_twice(cluster: Cluster, tiny_mnist: Path, tmp_path: Path) -> None:
    """With blanks and quotes in all paths, a relative folder of runs, and a script that is submitted from elsewhere."""
    here = tmp_path / 'it\'s "my" $HOME folder'
    here.mkdir()
    words = [*reproduction(tiny_mnist, Path("my 'runs'")), "--epochs", "1"]
    job = cluster.sbatch(_script(words, tasks=2, cwd=here), cwd=tmp_path)
    tasks = cluster.wait(job)
    assert len(tasks) == 2
    runs = here / "my 'runs'"
    assert finished_once(runs)
    logs = [(here / f"slurm-{job}_{task}.out").read_text() for task in range(2)]
    assert sum(log.count(" s)\n") for log in logs) == 4, logs
    assert all("FAILED" not in log and "Traceback" not in log for log in logs), logs


def test_a_time_limit_warns_and_the_task_is_queued_again_and_ends_exact(
    cluster: Cluster, tiny_mnist: Path, tmp_path: Path, undisturbed: Callable[[int], Path], final_state: Callable[[Path], object]
) -> None:
    runs = tmp_path / "runs"
    job = cluster.sbatch(_script(_one_run(tiny_mnist, runs, _MANY_EPOCHS), tasks=1, cwd=tmp_path))
    _reach_the_time_limit(cluster, job, runs)
    (task,) = cluster.wait(job)
    assert task["Restarts"] == "1"
    assert _starts(runs) == 2
    assert final_state(_run_of(runs)) == final_state(undisturbed(_MANY_EPOCHS))


def test_scancel_saves_and_queues_nothing_and_the_same_script_goes_on_exact(
    cluster: Cluster, tiny_mnist: Path, tmp_path: Path, undisturbed: Callable[[int], Path], final_state: Callable[[Path], object]
) -> None:
    runs = tmp_path / "runs"
    script = _script(_one_run(tiny_mnist, runs), tasks=1, cwd=tmp_path)
    job = cluster.sbatch(script)
    wait_for(lambda: _trains(runs), "a training", log=cluster.log)
    cluster.tell("scancel", job)
    (task,) = cluster.wait(job, states=("CANCELLED",))
    assert task["Restarts"] == "0"
    state = json.loads((_run_of(runs) / "state.json").read_text())
    assert (state["status"], state["exit_code"]) == ("stopped", ExitCode.STOPPED)
    cluster.wait(cluster.sbatch(script))
    assert _starts(runs) == 2
    assert final_state(_run_of(runs)) == final_state(undisturbed(_EPOCHS))


def test_a_task_that_slurm_queues_again_as_in_preemption_ends_exact(
    cluster: Cluster, tiny_mnist: Path, tmp_path: Path, undisturbed: Callable[[int], Path], final_state: Callable[[Path], object]
) -> None:
    runs = tmp_path / "runs"
    job = cluster.sbatch(_script(_one_run(tiny_mnist, runs), tasks=1, cwd=tmp_path))
    wait_for(lambda: _trains(runs), "a training", log=cluster.log)
    cluster.tell("scontrol", "requeue", job)
    (task,) = cluster.wait(job)
    assert task["Restarts"] == "1"
    assert _starts(runs) == 2  # it was stopped by TERM and saved, before KILL
    assert final_state(_run_of(runs)) == final_state(undisturbed(_EPOCHS))


def test_a_node_that_dies_costs_the_time_since_the_last_checkpoint_and_no_bit(
    cluster: Cluster, tiny_mnist: Path, tmp_path: Path, undisturbed: Callable[[int], Path], final_state: Callable[[Path], object]
) -> None:
    runs = tmp_path / "runs"
    words = [*_one_run(tiny_mnist, runs), "--checkpoint-seconds", "1"]
    job = cluster.sbatch(_script(words, tasks=1, cwd=tmp_path))
    wait_for(lambda: any(runs.glob("*/last.ckpt")), "a checkpoint", log=cluster.log)
    cluster.kill_node()
    assert _starts(runs) == 0
    cluster.start_node()
    (task,) = cluster.wait(job)
    assert task["Restarts"] == "1"
    assert final_state(_run_of(runs)) == final_state(undisturbed(_EPOCHS))


def test_a_daemon_of_the_node_that_dies_disturbs_no_task(
    cluster: Cluster, tiny_mnist: Path, tmp_path: Path, undisturbed: Callable[[int], Path], final_state: Callable[[Path], object]
) -> None:
    runs = tmp_path / "runs"
    job = cluster.sbatch(_script(_one_run(tiny_mnist, runs), tasks=1, cwd=tmp_path))
    wait_for(lambda: _trains(runs), "a training", log=cluster.log)
    cluster.kill_daemon("slurmd")
    cluster.start_node()
    (task,) = cluster.wait(job)
    assert task["Restarts"] == "0"
    assert _starts(runs) == 1
    assert final_state(_run_of(runs)) == final_state(undisturbed(_EPOCHS))


@pytest.mark.parametrize(
    "options, gpu, shown",
    [
        ((), True, {"TresPerJob": "gres:gpu:1"}),
        (("--gpus=2",), True, {"TresPerJob": "gres:gpu:2"}),
        (("--gres=gpu:1",), True, {"TresPerNode": "gres:gpu:1", "TresPerJob": None}),
        (("--gpus-per-node=2",), True, {"TresPerNode": "gres:gpu:2", "TresPerJob": None}),
        (("--gres=none",), True, {"TresPerNode": None, "TresPerJob": None}),
        ((), False, {"TresPerNode": None, "TresPerJob": None}),
        (("--cpus-per-task=3", "--job-name=mine"), False, {"CPUs/Task": "3", "JobName": "mine"}),
        (("--cpus-per-task=3", "--cpus-per-task=2"), False, {"CPUs/Task": "2"}),
        (("--time=0:07:00", "--nice=5"), False, {"TimeLimit": "00:07:00", "Nice": "5"}),
        (("--no-requeue", "--exclusive"), False, {"Requeue": "0", "OverSubscribe": "NO"}),
    ],
)
def test_slurm_gives_a_task_what_the_options_ask_for(
    cluster: Cluster, tmp_path: Path, options: tuple[str, ...], gpu: bool, shown: dict[str, str | None]
) -> None:
    script = array_script(["true"], tasks=1, cpus=1, gpu=gpu, folder=tmp_path, options=checked_options(options))
    (task,) = cluster.wait(cluster.sbatch(script))
    assert {name: task.get(name) for name in shown} == shown


@pytest.mark.parametrize(
    "value", ["a b", "it's", 'say "no"', "back\\slash", "a\\", "#1", "$HOME `id` $(id)", "a=b;c&d|e", "~/x*?[y]", "é 漢", "", "--x"]
)
def test_every_printable_value_of_an_option_reaches_slurm_whole(cluster: Cluster, tmp_path: Path, value: str) -> None:
    """As does the folder of the task, and each word of the command."""
    folder = tmp_path / f"x{value.replace('/', '_')}"
    folder.mkdir()
    code = "import json, os, sys; json.dump([os.getcwd(), *sys.argv[1:]], open('words', 'w'))"
    command = [sys.executable, "-c", code, value, "last"]
    script = array_script(command, tasks=1, cpus=1, gpu=False, folder=folder, options=checked_options([f"--job-name={value}"]))
    (task,) = cluster.wait(cluster.sbatch(script))
    assert json.loads((folder / "words").read_text()) == [str(folder), value, "last"]
    if value:
        line = cluster.tell("scontrol", "--oneliner", "show", "job", task["JobId"])
        assert line.partition(" UserId=")[0].partition("JobName=")[2] == value


@pytest.mark.parametrize("code", [0, 1, 2, 66, 70, 75])
def test_slurm_has_the_exit_code_of_the_command(cluster: Cluster, tmp_path: Path, code: int) -> None:
    script = array_script(["sh", "-c", f"exit {code}"], tasks=1, cpus=1, gpu=False, folder=tmp_path)
    (task,) = cluster.wait(cluster.sbatch(script), states=("COMPLETED" if code == 0 else "FAILED",))
    assert (task["ExitCode"], task["Restarts"]) == (f"{code}:0", "0")


@pytest.fixture
def submitted(cluster: Cluster, tmp_path: Path) -> Callable[..., str]:
    """Submit through submitit and return the job's id."""
    pytest.importorskip("submitit", reason="submitit is missing: install mgnet-train[slurm]")

    def submit(words: list[str], *, tasks: int, options: tuple[str, ...] = ()) -> str:
        extra = [f"--sbatch-arg={option}" for option in options]
        call = [sys.executable, "-m", "mgnet_train", *words, "--submitit", str(tasks), *extra]
        done = subprocess.run(call, cwd=tmp_path, env=cluster.env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        runs = Path(words[words.index("--runs") + 1])
        return min(path.name for path in (runs / "submitit").glob("*_submission.sh")).partition("_")[0]

    return submit


def test_submitit_shares_a_plan_and_no_run_is_trained_twice(
    cluster: Cluster, submitted: Callable[..., str], tiny_mnist: Path, tmp_path: Path
) -> None:
    runs = tmp_path / "it's my runs"
    cluster.wait(submitted([*reproduction(tiny_mnist, runs), "--epochs", "1"], tasks=2))
    assert finished_once(runs)


def test_submitit_queues_a_task_again_after_its_time_limit_and_it_ends_exact(
    cluster: Cluster,
    submitted: Callable[..., str],
    tiny_mnist: Path,
    tmp_path: Path,
    undisturbed: Callable[[int], Path],
    final_state: Callable[[Path], Any],
) -> None:
    runs = tmp_path / "runs"
    job = submitted(_one_run(tiny_mnist, runs, _MANY_EPOCHS), tasks=1)
    _reach_the_time_limit(cluster, job, runs)
    (task,) = cluster.wait(job)
    assert task["Restarts"] == "1"
    assert _starts(runs) == 2
    assert final_state(_run_of(runs)) == final_state(undisturbed(_MANY_EPOCHS))


def test_submitit_queues_a_task_again_when_its_node_dies_and_it_ends_exact(
    cluster: Cluster,
    submitted: Callable[..., str],
    tiny_mnist: Path,
    tmp_path: Path,
    undisturbed: Callable[[int], Path],
    final_state: Callable[[Path], Any],
) -> None:
    runs = tmp_path / "runs"
    job = submitted([*_one_run(tiny_mnist, runs), "--checkpoint-seconds", "1"], tasks=1)
    wait_for(lambda: any(runs.glob("*/last.ckpt")), "a checkpoint", log=cluster.log)
    cluster.kill_node()
    cluster.start_node()
    (task,) = cluster.wait(job)
    assert task["Restarts"] == "1"
    assert final_state(_run_of(runs)) == final_state(undisturbed(_EPOCHS))


def test_scancel_of_a_task_of_submitit_saves_and_queues_nothing(
    cluster: Cluster, submitted: Callable[..., str], tiny_mnist: Path, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    job = submitted(_one_run(tiny_mnist, runs), tasks=1)
    wait_for(lambda: _trains(runs), "a training", log=cluster.log)
    cluster.tell("scancel", job)
    (task,) = cluster.wait(job, states=("CANCELLED",))
    assert task["Restarts"] == "0"
    assert json.loads((_run_of(runs) / "state.json").read_text())["status"] == "stopped"
