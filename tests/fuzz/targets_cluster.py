"""Fuzz targets of what goes to a cluster: options of sbatch in a script, and the mounts of a machine."""

from __future__ import annotations

import shlex
import tempfile
from pathlib import Path

from hypothesis import strategies as st

from fuzz.framework import accepted, target
from mgnet_train.experiments.launch import array_script, checked_options
from mgnet_train.runs.lock import file_system, require_shared_locks

_NAMES = ("gres", "gpus", "time", "comment", "signal", "array", "wrap", "chdir", "exclusive", "output")
_VALUES = st.one_of(
    st.sampled_from(
        ("gpu:a100:1", "B:USR1@60", "1-0", "a b", "it's", '"', "\\", "#SBATCH --x", "\n#SBATCH --x", "$(id)", "\u2028", "")
    ),
    st.text(max_size=20),
)
_OPTIONS = st.one_of(
    st.builds("--{}={}".format, st.sampled_from(_NAMES), _VALUES),
    st.sampled_from(_NAMES).map("--{}".format),
    st.text(max_size=20),
)


@target(_OPTIONS, form="text", quick=100, nightly=20_000)
def sbatch_option(option: str) -> None:
    """An option that is taken is one word of one line of the script, read as sbatch reads it, and adds no other line."""
    options = accepted(lambda: checked_options([option]))
    script = accepted(lambda: array_script(["true"], tasks=2, cpus=1, gpu=False, folder=Path("/"), options=options))
    plain = array_script(["true"], tasks=2, cpus=1, gpu=False, folder=Path("/"))
    lines = [line.removeprefix("#SBATCH ") for line in script.split("\n") if line.startswith("#SBATCH ")]
    words = [shlex.split(line) for line in lines]
    assert [option] in words
    assert all(len(word) == 1 for word in words)
    assert len(script.splitlines()) - len(plain.splitlines()) in (0, 1)


_FIELDS = st.sampled_from(("1", "/", "/x", "/my\\040disk", "\\777", "rw,localflock", "-", "nfs4", "lustre", "", "\x00", "\udcff"))


@target(st.lists(st.lists(_FIELDS, max_size=12).map(" ".join), max_size=4).map("\n".join), form="text", quick=100, nightly=20_000)
def mounts(text: str) -> None:
    """Whatever the system says of its mounts, a file system is named in one line or unknown."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "mountinfo"
        file.write_bytes(text.encode("utf-8", "surrogatepass"))
        assert len(file_system(Path("/x/runs"), mounts=file).splitlines()) == 1
        accepted(lambda: require_shared_locks(Path("/x/runs"), mounts=file))
