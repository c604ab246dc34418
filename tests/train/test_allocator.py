"""The allocator's setting: it spares page faults in its own process, and leaves alone whoever has chosen otherwise."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping

import pytest

# A hundred megabytes, taken and given back six times; page faults of all but the first round.
PROGRAM = """
import ctypes, resource, sys
from mgnet_train.train.allocator import set_allocator
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
print(set_allocator(sys.argv[1]))
faults = []
for _ in range(6):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = libc.malloc(100 << 20)
    libc.memset(block, 1, 100 << 20)
    libc.free(block)
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(sum(faults[1:]))
"""


def said_and_faults(allocator: str, environment: Mapping[str, str] | None = None) -> tuple[str, int]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, allocator], env=dict(environment or {}), capture_output=True, text=True, check=True
    )
    line, faults = done.stdout.splitlines()
    return line, int(faults)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc is the C library of Linux")
def test_kept_memory_is_faulted_in_once() -> None:
    line, faults = said_and_faults("keep")
    assert line == "allocator: glibc keeps freed memory (--allocator system leaves that to the system)"
    assert faults < 1000
    line, faults = said_and_faults("system")
    assert line == "allocator: as the system has it"
    assert faults > 100_000


@pytest.mark.parametrize("variable", ["MALLOC_TOP_PAD_", "GLIBC_TUNABLES"])
def test_an_environment_that_chooses_is_left_alone(variable: str) -> None:
    value = "0" if variable == "MALLOC_TOP_PAD_" else "glibc.malloc.arena_max=1"
    line, faults = said_and_faults("keep", {variable: value})
    assert line == f"allocator: left to the environment variable {variable}"
    assert faults > 100_000


def test_an_import_changes_nothing() -> None:
    program = PROGRAM.replace("print(set_allocator(sys.argv[1]))", "print('imported')")
    done = subprocess.run([sys.executable, "-c", program, "keep"], env={}, capture_output=True, text=True, check=True)
    assert int(done.stdout.splitlines()[1]) > 100_000
