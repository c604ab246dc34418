"""Locks where the file system has none, or has none that other machines see: one line that names it."""

from __future__ import annotations

import errno
import fcntl
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mgnet_records.errors import InputError
from mgnet_train import Options, RunSpec, fit
from mgnet_train.cli.main import main
from mgnet_train.runs.lock import FolderLock, exclusive, file_system, is_locked, require_shared_locks
from mgnet_train.train.distributed import Processes

# What NFS without a lock daemon, Lustre without the option flock, FUSE and others answer.
_ANSWERS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL, errno.EIO, errno.ESTALE)

_MOUNTS = r"""
21 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
22 21 0:40 / /home rw,relatime shared:1 - nfs4 server:/home rw,vers=4.2,local_lock=none
23 21 0:41 / /scratch rw,relatime shared:2 master:3 - lustre 10.0.0.1@tcp:/scratch rw,localflock,lazystatfs
24 21 0:42 / /mnt/my\040disk rw - fuse.sshfs host:/x rw
25 22 0:43 / /home/old rw - nfs server:/old rw,vers=3,nolock
26 22 0:44 / /home/old rw - nfs server:/new rw,vers=3,local_lock=all
"""


@pytest.fixture
def no_flock(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """From the call on, flock answers with an error."""

    def answer(code: int) -> None:
        def refuse(file: int, operation: int) -> None:
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(fcntl, "flock", refuse)

    return answer


@pytest.mark.parametrize("code", _ANSWERS)
def test_a_file_system_without_locks_is_named(code: int, no_flock: Callable[[int], None], tmp_path: Path) -> None:
    no_flock(code)
    complaint = re.escape(f"its file system ({file_system(tmp_path)}) has no flock, so use --runs on one that has")
    with pytest.raises(InputError, match=complaint):
        FolderLock(tmp_path)
    with pytest.raises(InputError, match=complaint), exclusive(tmp_path / "other"):
        pass
    assert not is_locked(tmp_path)


def test_without_locks_nothing_is_trained(
    no_flock: Callable[[int], None], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    no_flock(errno.ENOSYS)
    words = ["fit", "MgNet[1,1]-[4]-B^l", "--epochs", "1", "--device", "cpu", "--track", "later", "--runs", str(tmp_path / "runs")]
    assert main(words) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("mgnet-train")]
    assert "has no flock" in line
    assert not list(tmp_path.glob("runs/*/config.json"))


@pytest.mark.parametrize("command", ["status", pytest.param("sync", marks=pytest.mark.nightly)])
def test_runs_that_were_moved_to_a_file_system_without_locks_are_shown_and_their_sync_says_so(
    command: str,
    capsys: pytest.CaptureFixture[str],
    no_flock: Callable[[int], None],
    tiny_spec: Callable[..., RunSpec],
    quietly: Options,
    one_process: Processes,
) -> None:
    finished = fit(tiny_spec(epochs="1"), quietly, one_process)
    no_flock(errno.ENOSYS)
    code = main([command, "--runs", str(quietly.runs)])
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    if command == "status":
        assert (code, finished.folder.name in captured.out) == (0, True)
    else:
        assert code != 0
        assert "has no flock" in captured.out + captured.err


def test_the_file_system_of_a_path_is_that_of_its_deepest_mount(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(_MOUNTS.strip())
    for path, named in {
        "/x/y": "ext4 at /",
        "/home/me/runs": "nfs4 at /home",
        "/homes": "ext4 at /",
        "/mnt/my disk/runs": "fuse.sshfs at /mnt/my disk",
        "/home/old/runs": "nfs at /home/old",
    }.items():
        assert file_system(Path(path), mounts=mounts) == named
    assert file_system(tmp_path, mounts=tmp_path / "none") == "of unknown type"
    mounts.write_text("nonsense\n")
    assert file_system(tmp_path, mounts=mounts) == "of unknown type"


def test_locks_that_stay_on_one_machine_are_rejected_for_several_tasks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(_MOUNTS.strip())
    for path, option in {"/scratch/runs": "localflock", "/home/old/runs": "local_lock=all"}.items():
        with pytest.raises(InputError, match=f"mounted with {option}: its locks do not reach other machines"):
            require_shared_locks(Path(path), mounts=mounts)
    for path in ("/home/me/runs", "/x", "/mnt/my disk"):
        require_shared_locks(Path(path), mounts=mounts)
    asked: list[Any] = []
    monkeypatch.setattr("mgnet_train.runs.lock.require_shared_locks", asked.append)
    for tasks in ("1", "2"):
        assert main(["reproduce", "v2/table2", "--sbatch", tasks, "--runs", str(tmp_path)]) == 0
    capsys.readouterr()
    assert asked == [tmp_path]
