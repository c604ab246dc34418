"""All benchmarks of the CPU, one after the other, each a process of its own.

python -m benchmarks.run [--full] [--authors CHECKOUT]
The short set ends within six minutes on two cores; --full takes more rounds, compiles, and adds the cost table.
Waits up to half a minute for the machine to become idle, and says so if it does not.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

_STEPS = ("feature", "residual channels_last winograd", "residual channels_last winograd bf16")
_MEMORY = (
    "residual channels_last winograd",
    "feature",
    "residual channels_last winograd selective",
    "residual channels_last winograd sublinear",
)
SHORT = (
    "startup --rounds 1",
    f"training_step --channels 64 --rounds 2 --variants {shlex.join(_STEPS)}",
    f"training_step --channels 256 --rounds 1 --batch 16 --variants {shlex.join(_STEPS)}",
    "inference --channels 256 --batch 16 --rounds 2",
    f"activation_memory --nu 16 --rounds 1 --batch 4 --variants {shlex.join(_MEMORY)}",
    "data_path --rounds 1",
    "epoch --images 896 --rounds 1",
)
FULL = (
    "startup --rounds 7",
    "convolution --rounds 7",
    "training_step --rounds 7",
    "inference --rounds 9 --compile",
    "as_shipped --rounds 3",
    "activation_memory --nu 2 32 --rounds 5",
    "data_path --rounds 5",
    "epoch --images 6400 --rounds 3",
    "cost --rounds 5",
)
_OF_AUTHORS = ("training_step", "inference", "as_shipped", "epoch")
_IDLE = 0.6


def main() -> int:
    """Run the set; the exit code is 1 when a benchmark failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="more rounds and the long benchmarks, about half an hour")
    parser.add_argument("--authors", type=Path, help="a checkout of the authors' released code")
    arguments = parser.parse_args()
    _wait_until_idle(30)
    start, failed = time.monotonic(), []
    for line in FULL if arguments.full else SHORT:
        name, *options = shlex.split(line)
        if arguments.authors and name in _OF_AUTHORS:
            options += ["--authors", str(arguments.authors)]
        began = time.monotonic()
        done = subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *options], check=False)
        print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
        if done.returncode != 0:
            failed.append(name)
    print(f"all: {time.monotonic() - start:.0f} s" + (f", failed: {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


def _wait_until_idle(seconds: float) -> None:
    end = time.monotonic() + seconds
    while (load := os.getloadavg()[0]) >= _IDLE and time.monotonic() < end:
        time.sleep(5)
    if load >= _IDLE:
        print(f"the machine is busy (load {load:.2f}): ratios are of variants run in turn, milliseconds mean little", flush=True)


if __name__ == "__main__":
    sys.exit(main())
