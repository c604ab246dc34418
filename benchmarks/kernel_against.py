"""Is the Winograd convolution as fast as that of an older commit?

python -m benchmarks.kernel_against --commit b8ae27c [--channels 64 256] [--sizes 32 16] [--batch 32] [--rounds 9]
The older code is taken out of git into a temporary folder and runs in a process of its own; that process and one of the present
code wait for each other, so that in each round both compute the same convolution one right after the other, and every second
round in the other order. Channels_last images, training steps' work: the weight is transformed at each call. A ratio above 1
says that the present code is the faster one; wall and CPU seconds each have one, as other processes disturb the first more.
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
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PASSES = ("forward", "gradient of input", "gradient of weight", "layer forward", "layer forward and backward")
_TURN = 0.1  # seconds: calls are repeated for about as long


def main() -> None:
    """Measure all passes at each size, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commit", default="b8ae27c", help="the older code, which has mgnet_models.winograd or mgnet_kernels")
    parser.add_argument("--channels", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 16])
    parser.add_argument("--batch", type=int, nargs="+", default=[32])
    parser.add_argument("--dtypes", nargs="+", choices=["float32", "bfloat16"], default=["float32", "bfloat16"])
    parser.add_argument("--passes", nargs="+", choices=PASSES, default=PASSES)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--worker", choices=["present", "older"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work(arguments.worker, arguments.threads)
        return

    from benchmarks.report import print_table, write

    with tempfile.TemporaryDirectory() as folder:
        older = take_out(arguments.commit, Path(folder))
        workers = {"older": start("older", older, arguments.threads), "present": start("present", None, arguments.threads)}
        try:
            found = [
                measure(workers, arguments.rounds, name=name, dtype=dtype, channels=channels, size=size, batch=batch)
                for dtype in arguments.dtypes
                for channels in arguments.channels
                for size in arguments.sizes
                for batch in arguments.batch
                for name in arguments.passes
            ]
        finally:
            for worker in workers.values():
                worker.terminate()
                worker.wait()
    print_table(
        f"Winograd convolution: times faster than at {arguments.commit} ({arguments.rounds} rounds, {arguments.threads} threads)",
        ["dtype", "channels", "image", "batch", "pass", "older ms", "wall", "lowest to highest", "CPU", "lowest to highest"],
        [list(row["table"]) for row in found],
    )
    print(write("kernel_against", found, **vars(arguments)))


def take_out(commit: str, folder: Path) -> list[Path]:
    """The packages of a commit, in a folder; returns what to put on the Python path."""
    archive = subprocess.run(["git", "archive", commit, "packages"], cwd=ROOT, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=BytesIO(archive)) as tar:
        tar.extractall(folder, filter="data")
    kernels = folder / "packages" / "mgnet-kernels"
    if kernels.is_dir():
        build = "import hatchling.build, sys; hatchling.build.build_editable(sys.argv[1])"
        subprocess.run([sys.executable, "-c", build, str(folder)], cwd=kernels, check=True, stdout=subprocess.DEVNULL)
    return sorted((folder / "packages").glob("*/src"))


def start(which: str, packages: list[Path] | None, threads: int) -> subprocess.Popen[str]:
    """A process that computes what it is asked for, line by line."""
    path = {} if packages is None else {"PYTHONPATH": os.pathsep.join(map(str, packages)), "XDG_CACHE_HOME": str(packages[0])}
    command = [sys.executable, "-m", "benchmarks.kernel_against", "--worker", which, "--threads", str(threads)]
    # Threads that wait go to sleep: else those of the process that waits would take cores from the one that is measured.
    environment = os.environ | path | {"OMP_WAIT_POLICY": "passive"}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def ask(worker: subprocess.Popen[str], **question: object) -> Any:
    """The answer of one process."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write(json.dumps(question) + "\n")
    worker.stdin.flush()
    return json.loads(worker.stdout.readline())


def measure(workers: dict[str, subprocess.Popen[str]], rounds: int, **case: Any) -> dict[str, Any]:
    """One case: seconds of each call in each round, and the ratios older / present."""
    prepared = {which: ask(worker, do="prepare", **case) for which, worker in workers.items()}
    checksums = {which: answer["checksum"] for which, answer in prepared.items()}
    tolerance = 1e-4 if case["dtype"] == "float32" else 2e-2
    if abs(checksums["older"] - checksums["present"]) > tolerance * abs(checksums["older"]):
        raise SystemExit(f"{case}: not the same function, {checksums}: not timed")
    # As many calls for both: on a busy machine a process that has just slept is favored for some time, so that the one with the
    # shorter turn would look faster.
    calls = max(1, round(_TURN / min(answer["seconds"] for answer in prepared.values())))
    seconds: dict[str, list[dict[str, float]]] = {which: [] for which in workers}
    for number in range(rounds):
        for which in list(workers) if number % 2 == 0 else reversed(list(workers)):
            seconds[which].append(ask(workers[which], do="time", calls=calls))
    row: dict[str, Any] = case | {"seconds": seconds}
    table: list[object] = [case["dtype"], case["channels"], case["size"], case["batch"], case["name"]]
    table.append(f"{1000 * statistics.median(it['wall'] for it in seconds['older']):.2f}")
    for clock in ("wall", "cpu"):
        ratios = [old[clock] / new[clock] for old, new in zip(seconds["older"], seconds["present"])]
        row[f"{clock}_ratio"] = statistics.median(ratios)
        table += [f"{statistics.median(ratios):.2f}", f"{min(ratios):.2f} to {max(ratios):.2f}"]
    return row | {"table": table}


# ---- in the two processes ----


def work(which: str, threads: int) -> None:
    """Answer questions on stdin until it is closed."""
    import time

    import torch

    torch.set_num_threads(threads)
    run: Callable[[], Any] = lambda: None  # noqa: E731
    for line in sys.stdin:
        question = json.loads(line)
        if question.pop("do") == "prepare":
            run, checksum = prepare(which, **question)
            begin = time.perf_counter()
            run()
            answer = {"checksum": checksum, "seconds": time.perf_counter() - begin}
        else:
            calls = question["calls"]
            wall, cpu = time.perf_counter(), time.process_time()
            for _ in range(calls):
                run()
            answer = {"wall": (time.perf_counter() - wall) / calls, "cpu": (time.process_time() - cpu) / calls}
        print(json.dumps(answer), flush=True)


def prepare(which: str, *, name: str, dtype: str, channels: int, size: int, batch: int) -> tuple[Callable[[], Any], float]:
    """What is timed, and a number by which both results can be compared."""
    import torch
    from mgnet_train.allocator import set_allocator

    set_allocator("keep")
    torch.manual_seed(0)
    kind = getattr(torch, dtype)
    x, g = (torch.randn(batch, channels, size, size).to(kind).to(memory_format=torch.channels_last) for _ in range(2))
    layer = torch.nn.Conv2d(channels, channels, 3, padding=1, bias=False).to(kind).to(memory_format=torch.channels_last)
    convolution = present(layer) if which == "present" else older(layer)
    weight = layer.weight.detach()
    if name in convolution:
        run = convolution[name]
        arguments = {"forward": (x, weight), "gradient of input": (g, weight), "gradient of weight": (g, x)}[name]

        def direct() -> Any:
            with torch.no_grad():
                return run(*arguments)
    else:
        images = x.clone().requires_grad_()

        def direct() -> Any:
            y = convolution["layer"](images)
            if name == "layer forward":
                return y
            return torch.autograd.grad(y, [images, layer.weight], g)[1]

    result = direct()
    return direct, float(result.detach().double().abs().sum())


def present(layer: Any) -> dict[str, Callable[..., Any]]:
    """The operators of mgnet_kernels."""
    import torch

    import mgnet_kernels

    ops = torch.ops.mgnet
    return {
        "forward": ops.conv3x3,
        "gradient of input": ops.conv3x3_grad_input,
        "gradient of weight": ops.conv3x3_grad_weight,
        "layer": lambda x: mgnet_kernels.conv3x3(x, layer.weight),
    }


def older(layer: Any) -> dict[str, Callable[..., Any]]:
    """The functions of mgnet_models.winograd where the commit has them."""
    try:
        from mgnet_models import ShortConvolutions, winograd
    except ImportError:
        return present(layer)
    mode = ShortConvolutions()

    def in_mode(x: Any) -> Any:
        with mode:
            return layer(x)

    return {
        "forward": lambda x, weight: winograd.convolve(x, winograd.transform_kernels(weight)),
        "gradient of input": winograd.image_gradient,
        "gradient of weight": lambda g, x: winograd.kernel_gradient(x, g),
        "layer": in_mode,
    }


if __name__ == "__main__":
    main()
