"""What do the recompute modes keep and cost, beside the memory modes of an older commit?

python -m benchmarks.recompute_against [--commit b8ae27c] [--nu 2 32] [--rounds 11] [--winograd]
Time is over the mode that recomputes nothing, of the same side and round, and over the older commit's mode; bytes are what is
alive after the forward pass, over the feature form. Clock "cpu" with one thread is for a busy machine.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from benchmarks.against import CLOCKS, Worker, answers, in_turns, keep_memory, ratios, spread, two_sides

_MODES = {"new": ("none", "selective", "full", "sublinear"), "old": ("default", "lean", "leaner", "deep")}
_LIMITS = dict(zip(_MODES["new"], (1.0, 1.05, 1.15, 1.30)))
_OLD_NAME = dict(zip(_MODES["new"], _MODES["old"]))


def main() -> None:
    """Measure, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commit", default="b8ae27c", help="the older code, which has memory modes")
    parser.add_argument("--nu", type=int, nargs="+", default=[2, 32], help="iterations on the finest grid; 2 on the others")
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall")
    parser.add_argument("--winograd", action="store_true", help="wide 3x3 convolutions by Winograd, on both sides")
    parser.add_argument("--worker", choices=list(_MODES), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        _answer(arguments.worker, arguments.threads)
        return

    from benchmarks.report import write

    with two_sides("benchmarks.recompute_against", arguments.commit, ["--threads", str(arguments.threads)]) as workers:
        results = [_compare(workers, nu, arguments) for nu in arguments.nu]
    print(write("recompute_against", results, **vars(arguments)))


def _compare(workers: dict[str, Worker], nu: int, arguments: argparse.Namespace) -> dict[str, Any]:
    from benchmarks.report import print_table

    notation = f"MgNet[{nu},2,2,2]-[{arguments.channels}]-B^l"
    for worker in workers.values():
        worker.ask(do="prepare", notation=notation, batch=arguments.batch, winograd=arguments.winograd)
    variants = [(side, mode) for mode in _MODES["new"] for side in ("new", "old")]
    kept = {(side, mode): workers[side].ask(do="bytes", mode=_name(side, mode)) for side, mode in variants}
    seconds: dict[tuple[str, str], list[dict[str, float]]] = {variant: [] for variant in variants}
    for number, (side, mode) in in_turns(variants, arguments.rounds):
        measured = workers[side].ask(do="step", mode=_name(side, mode))
        if number >= 0:
            seconds[side, mode].append(measured)
    rows = [
        [
            f"{side} {_name(side, mode)}",
            f"{1000 * statistics.median(one[arguments.clock] for one in seconds[side, mode]):.1f}",
            f"{kept[side, mode]:.3f}",
            spread(ratios(seconds[side, mode], seconds[side, "none"], arguments.clock)),
            f"{_LIMITS[mode]:.2f}",
            spread(ratios(seconds[side, mode], seconds["old", mode], arguments.clock)),
        ]
        for side, mode in variants
    ]
    head = ["mode", f"median ms ({arguments.clock})", "bytes", "time over none", "limit", f"time over {arguments.commit}"]
    print_table(f"{notation}, batch {arguments.batch}, {arguments.rounds} rounds", head, rows)
    return {"nu": nu, "rows": [dict(zip(head, row)) for row in rows], "seconds": {" ".join(k): v for k, v in seconds.items()}}


def _name(side: str, mode: str) -> str:
    return mode if side == "new" else _OLD_NAME[mode]


def _answer(side: str, threads: int) -> None:
    import torch

    from benchmarks.saved_tensors import saved_bytes

    keep_memory()
    torch.set_num_threads(threads)
    prepared: dict[str, Any] = {}

    def answer(question: dict[str, Any]) -> object:
        do = question.pop("do")
        if do == "prepare":
            prepared.update(_prepared(side, **question))
            prepared["feature form"] = saved_bytes(prepared["network"], prepared["feature_form"])
            return None
        prepared["set_mode"](question["mode"])
        if do == "bytes":
            return saved_bytes(prepared["network"], prepared["forward"]) / prepared["feature form"]
        start = {clock: read() for clock, read in CLOCKS.items()}
        prepared["step"]()
        return {clock: read() - start[clock] for clock, read in CLOCKS.items()}

    answers(answer)


def _prepared(side: str, notation: str, batch: int, winograd: bool) -> dict[str, Any]:
    import timm
    import torch
    import torch.nn.functional as F

    import mgnet_models

    models: Any = mgnet_models
    torch.manual_seed(0)
    network: Any = timm.create_model("mgnet", notation=notation, num_classes=100)
    network = network.to(memory_format=torch.channels_last).train()
    images = torch.randn(batch, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(100, (batch,))
    context: Callable[[], AbstractContextManager[object]] = nullcontext
    if winograd and side == "new":
        network = models.use_winograd(network)
    elif winograd:
        context = models.ShortConvolutions

    def step() -> None:
        network.zero_grad(set_to_none=True)
        with context():
            loss = F.cross_entropy(network(images), labels)
        loss.backward()

    feature_form = network.forward_feature_form if side == "new" else network.forward_literal
    return {
        "network": network,
        "set_mode": network.set_recompute if side == "new" else network.set_memory_mode,
        "forward": lambda: network(images),
        "feature_form": lambda: feature_form(images),
        "step": step,
    }


if __name__ == "__main__":
    main()
