"""Is the Winograd convolution as fast as that of an older commit?

python -m benchmarks.kernel_against --commit b8ae27c [--channels 64 256] [--sizes 32 16] [--batch 32] [--rounds 9]
The older code is taken out of git into a temporary folder and runs in a process of its own; that process and one of the present
code wait for each other, so that in each round both compute the same convolution one right after the other, and every second
round in the other order. Channels_last images, training steps' work: the weight is transformed at each call. A ratio above 1
says that the present code is the faster one; wall and CPU seconds each have one, as other processes disturb the first more.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

from benchmarks.against import CLOCKS, Worker, answers, in_turns, keep_memory, ratios, spread, two_sides

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
    parser.add_argument("--worker", choices=["old", "new"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work(arguments.worker, arguments.threads)
        return

    from benchmarks.report import print_table, write

    with two_sides("benchmarks.kernel_against", arguments.commit, ["--threads", str(arguments.threads)]) as workers:
        found = [
            measure(workers, arguments.rounds, name=name, dtype=dtype, channels=channels, size=size, batch=batch)
            for dtype in arguments.dtypes
            for channels in arguments.channels
            for size in arguments.sizes
            for batch in arguments.batch
            for name in arguments.passes
        ]
    print_table(
        f"Winograd convolution: times faster than at {arguments.commit} ({arguments.rounds} rounds, {arguments.threads} threads)",
        ["dtype", "channels", "image", "batch", "pass", "old ms", "wall", "cpu"],
        [list(row["table"]) for row in found],
    )
    print(write("kernel_against", found, **vars(arguments)))


def measure(workers: dict[str, Worker], rounds: int, **case: Any) -> dict[str, Any]:
    """One case: seconds of each call in each round, and the ratios older / present."""
    prepared = {which: worker.ask(do="prepare", **case) for which, worker in workers.items()}
    checksums = {which: answer["checksum"] for which, answer in prepared.items()}
    tolerance = 1e-4 if case["dtype"] == "float32" else 2e-2
    if abs(checksums["old"] - checksums["new"]) > tolerance * abs(checksums["old"]):
        raise SystemExit(f"{case}: not the same function, {checksums}: not timed")
    # As many calls for both: on a busy machine a process that has just slept is favored for some time, so that the one with the
    # shorter turn would look faster.
    calls = max(1, round(_TURN / min(answer["seconds"] for answer in prepared.values())))
    seconds: dict[str, list[dict[str, float]]] = {which: [] for which in workers}
    for number, which in in_turns(list(workers), rounds):
        measured = workers[which].ask(do="time", calls=calls)
        if number >= 0:
            seconds[which].append(measured)
    row: dict[str, Any] = case | {"seconds": seconds}
    table: list[object] = [case["dtype"], case["channels"], case["size"], case["batch"], case["name"]]
    table.append(f"{1000 * statistics.median(it['wall'] for it in seconds['older']):.2f}")
    for clock in CLOCKS:
        row[clock] = spread(ratios(seconds["old"], seconds["new"], clock))
        table.append(row[clock])
    return row | {"table": table}


# ---- in the two processes ----


def work(which: str, threads: int) -> None:
    """Answer questions on stdin until it is closed."""
    import torch

    keep_memory()
    torch.set_num_threads(threads)
    run: Callable[[], Any] = lambda: None  # noqa: E731

    def answer(question: dict[str, Any]) -> object:
        nonlocal run
        if question.pop("do") == "prepare":
            run, checksum = prepare(which, **question)
            begin = time.perf_counter()
            run()
            return {"checksum": checksum, "seconds": time.perf_counter() - begin}
        begins = {clock: read() for clock, read in CLOCKS.items()}
        for _ in range(question["calls"]):
            run()
        return {clock: (read() - begins[clock]) / question["calls"] for clock, read in CLOCKS.items()}

    answers(answer)


def prepare(which: str, *, name: str, dtype: str, channels: int, size: int, batch: int) -> tuple[Callable[[], Any], float]:
    """What is timed, and a number by which both results can be compared."""
    import torch

    torch.manual_seed(0)
    kind = getattr(torch, dtype)
    x, g = (torch.randn(batch, channels, size, size).to(kind).to(memory_format=torch.channels_last) for _ in range(2))
    layer = torch.nn.Conv2d(channels, channels, 3, padding=1, bias=False).to(kind).to(memory_format=torch.channels_last)
    convolution = present(layer) if which == "new" else older(layer)
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
