"""What do the recompute modes keep and cost, beside the memory modes of an older commit?

python -m benchmarks.recompute_against [--commit b8ae27c] [--nu 2 32] [--rounds 11] [--winograd] [--threads 1 --clock cpu]
The old mgnet-models is taken from git's archive into a temporary folder and runs in a process of its own. Both processes
live for the whole run and train in turn, one step each, so that what slows a round down slows both. Time is over the mode
that recomputes nothing, of the same side and round; bytes are what is alive after the forward pass, over the feature form.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from io import BytesIO
from pathlib import Path
from typing import Any

from benchmarks.report import print_table, write

_MODES = {
    "new": ("none", "selective", "full", "sublinear"),
    "old": ("default", "lean", "leaner", "deep"),
}
_LIMITS = (1.0, 1.05, 1.15, 1.30)
_CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
_ROOT = Path(__file__).parents[1]


def main() -> None:
    """Parent: two workers, in turn. With --worker: one of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commit", default="b8ae27c", help="the old commit")
    parser.add_argument("--nu", type=int, nargs="+", default=[2, 32], help="iterations on the finest grid; 2 on the others")
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--threads", type=int, default=0, help="0: as torch chooses")
    parser.add_argument("--clock", choices=list(_CLOCKS), default="wall", help="cpu on a busy machine, with --threads 1")
    parser.add_argument("--winograd", action="store_true", help="wide 3x3 convolutions by Winograd, on both sides")
    parser.add_argument("--worker", choices=list(_MODES), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        _work(arguments)
        return
    with tempfile.TemporaryDirectory() as folder:
        _extract(arguments.commit, Path(folder))
        sources = {"old": Path(folder) / "packages/mgnet-models/src", "new": _ROOT / "packages/mgnet-models/src"}
        results = [_compare(nu, sources, arguments) for nu in arguments.nu]
    print(write("recompute_against", results, **vars(arguments)))


def _extract(commit: str, folder: Path) -> None:
    archive = subprocess.run(["git", "archive", commit, "packages/mgnet-models"], cwd=_ROOT, capture_output=True, check=True)
    with tarfile.open(fileobj=BytesIO(archive.stdout)) as files:
        files.extractall(folder, filter="data")


def _compare(nu: int, sources: dict[str, Path], arguments: argparse.Namespace) -> dict[str, Any]:
    workers = {side: _Worker(side, nu, source, arguments) for side, source in sources.items()}
    variants = [(side, mode) for pair in zip(*_MODES.values()) for side, mode in zip(_MODES, pair)]
    kept = {(side, mode): workers[side].ask("bytes", mode) for side, mode in variants}
    seconds: dict[tuple[str, str], list[float]] = {variant: [] for variant in variants}
    for number in range(-1, arguments.rounds):
        for side, mode in variants if number % 2 == 0 else reversed(variants):
            elapsed = workers[side].ask("step", mode)
            if number >= 0:  # the first round warms up
                seconds[side, mode].append(elapsed)
    for worker in workers.values():
        worker.close()
    ratios = {
        (side, mode): [own / base for own, base in zip(seconds[side, mode], seconds[side, _MODES[side][0]])]
        for side, mode in variants
    }
    against = {
        (side, mode): [own / old for own, old in zip(seconds[side, mode], seconds["old", _MODES["old"][_MODES[side].index(mode)]])]
        for side, mode in variants
    }
    rows = [
        [
            f"{side} {mode}",
            f"{1000 * statistics.median(seconds[side, mode]):.1f}",
            f"{kept[side, mode]:.3f}",
            _spread(ratios[side, mode]),
            f"{_LIMITS[_MODES[side].index(mode)]:.2f}",
            _spread(against[side, mode]),
        ]
        for side, mode in variants
    ]
    head = ["mode", "median ms", "bytes, feature form = 1", "time over none", "limit", f"time over {arguments.commit}"]
    print_table(f"MgNet[{nu},2,2,2]-[{arguments.channels}]-B^l, batch {arguments.batch}, {arguments.rounds} rounds", head, rows)
    return {"nu": nu, "rows": [dict(zip(head, row)) for row in rows], "seconds": {" ".join(key): v for key, v in seconds.items()}}


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


class _Worker:
    """A process that trains with one side's mgnet_models, one command at a time."""

    def __init__(self, side: str, nu: int, source: Path, arguments: argparse.Namespace) -> None:
        command = [sys.executable, "-m", "benchmarks.recompute_against", "--worker", side, "--nu", str(nu)]
        command += ["--channels", str(arguments.channels), "--batch", str(arguments.batch), "--clock", arguments.clock]
        command += ["--threads", str(arguments.threads), *(["--winograd"] if arguments.winograd else [])]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(source), str(_ROOT)))}
        self._process = subprocess.Popen(
            command, env=environment, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, command: str, mode: str) -> float:
        """The worker's answer, a number."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{command} {mode}\n")
        self._process.stdin.flush()
        return float(json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        """Ends the process."""
        self._process.communicate()


def _work(arguments: argparse.Namespace) -> None:
    """Answer `bytes MODE` and `step MODE` on standard input, until it ends."""
    import timm
    import torch
    import torch.nn.functional as F

    import mgnet_models
    from benchmarks.saved_tensors import saved_bytes

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    models: Any = mgnet_models
    network: Any = timm.create_model(
        "mgnet", notation=f"MgNet[{arguments.nu[0]},2,2,2]-[{arguments.channels}]-B^l", num_classes=100
    )
    network = network.to(memory_format=torch.channels_last).train()
    images = torch.randn(arguments.batch, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(100, (arguments.batch,))
    is_new = arguments.worker == "new"
    set_mode = network.set_recompute if is_new else network.set_memory_mode
    feature_form = network.forward_feature_form if is_new else network.forward_literal
    short: Callable[[], AbstractContextManager[object]] = nullcontext
    if arguments.winograd and is_new:
        network = models.use_winograd(network)
    elif arguments.winograd:
        short = models.ShortConvolutions
    baseline = saved_bytes(network, lambda: feature_form(images))
    for line in sys.stdin:
        command, mode = line.split()
        set_mode(mode)
        if command == "bytes":
            print(saved_bytes(network, lambda: network(images)) / baseline, flush=True)
            continue
        network.zero_grad(set_to_none=True)
        start = _CLOCKS[arguments.clock]()
        with short():
            loss = F.cross_entropy(network(images), labels)
        loss.backward()
        print(_CLOCKS[arguments.clock]() - start, flush=True)


if __name__ == "__main__":
    main()
