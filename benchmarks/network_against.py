"""Are a training step and folded inference as fast as at an older commit?

python -m benchmarks.network_against [--commit b8ae27c] [--channels 64 256] [--batch 32 16] [--rounds 11]
MgNet[2,2,2,2]-[c]-B^l at 3x32x32, channels_last, Winograd convolutions on both sides, kept memory. A ratio above 1 says that the
present code is faster; wall and CPU seconds each have one, as other processes disturb the first more.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from benchmarks.against import CLOCKS, answers, in_turns, keep_memory, ratios, spread, two_sides

_WORK = (
    "training step",
    "training step bf16",
    "folded inference",
    "folded inference bf16",
    "folded inference, batch 1",
    "folded inference, batch 1, first",
)


def main() -> None:
    """Measure, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commit", default="b8ae27c", help="the older code")
    parser.add_argument("--channels", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--batch", type=int, nargs="+", default=[32, 16], help="one for each number of channels")
    parser.add_argument("--work", nargs="+", choices=_WORK, default=_WORK)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--worker", choices=["old", "new"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        _answer(arguments.worker, arguments.threads)
        return

    from benchmarks.report import print_table, write

    results = []
    with two_sides("benchmarks.network_against", arguments.commit, ["--threads", str(arguments.threads)]) as workers:
        for channels, batch in zip(arguments.channels, arguments.batch, strict=True):
            for work in arguments.work:
                for worker in workers.values():
                    worker.ask(do="prepare", work=work, channels=channels, batch=1 if "batch 1" in work else batch)
                seconds: dict[str, list[dict[str, float]]] = {side: [] for side in workers}
                for number, side in in_turns(list(workers), arguments.rounds):
                    measured = workers[side].ask(do="time")
                    if number >= 0:
                        seconds[side].append(measured)
                row = {"channels": channels, "batch": batch, "work": work, "seconds": seconds}
                results.append(row | {clock: spread(ratios(seconds["old"], seconds["new"], clock)) for clock in CLOCKS})
    title = f"times faster than at {arguments.commit}, {arguments.rounds} rounds, {arguments.threads} threads"
    columns = ("channels", "batch", "work", "wall", "cpu")
    print_table(title, list(columns), [[row[column] for column in columns] for row in results])
    print(write("network_against", results, **vars(arguments)))


def _answer(side: str, threads: int) -> None:
    import torch

    keep_memory()
    torch.set_num_threads(threads)
    run: Callable[[], Any] | None = None

    def answer(question: dict[str, Any]) -> object:
        nonlocal run
        if question.pop("do") == "prepare":
            run = _prepared(side, **question)
            return None
        assert run is not None
        start = {clock: read() for clock, read in CLOCKS.items()}
        run()
        return {clock: read() - start[clock] for clock, read in CLOCKS.items()}

    answers(answer)


def _prepared(side: str, work: str, channels: int, batch: int) -> Callable[[], Any]:
    import timm
    import torch
    import torch.nn.functional as F

    import mgnet_models

    models: Any = mgnet_models
    torch.manual_seed(0)
    network: Any = timm.create_model("mgnet", notation=f"MgNet[2,2,2,2]-[{channels}]-B^l", num_classes=100)
    images = torch.randn(batch, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(100, (batch,))
    if work.startswith("folded"):
        folded = models.optimize_for_inference(network.eval())
        # The other process takes the caches: one image alone would be the first of a program, 20 are a program that serves.
        repeats = 20 if batch == 1 and "first" not in work else 1
        if "bf16" in work:
            folded, images = folded.bfloat16(), images.bfloat16()

        def infer() -> None:
            with torch.inference_mode():
                for _ in range(repeats):
                    folded(images)

        return infer
    network = network.to(memory_format=torch.channels_last).train()
    context = models.ShortConvolutions if side == "old" else nullcontext
    if side == "new":
        network = models.use_winograd(network)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled="bf16" in work), context():
            loss = F.cross_entropy(network(images).float(), labels)
        loss.backward()
        optimizer.step()

    return step


if __name__ == "__main__":
    main()
