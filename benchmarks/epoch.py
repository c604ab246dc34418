"""How many images a second does a whole training loop do: the authors' as shipped, and mgnet-train's?

python -m benchmarks.epoch [--channels 64] [--images 5120] [--rounds 3] [--authors CHECKOUT]
Each loop is a process of its own, in turn. The authors' loop: a DataLoader with four workers and PIL transforms, the
feature form, SGD, the system's allocator, float32. mgnet-train's: images resident in memory, its optimizer and step,
its allocator, in both precisions. The rate is that of all batches but the first four.
The authors also pass over the training images a second time each epoch, to count right answers: that is not counted.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch.nn import functional as F

from benchmarks.processes import in_turn
from benchmarks.report import print_timing, write
from benchmarks.timing import compared
from mgnet_train.train.allocator import set_allocator

BATCH, UNTIMED = 128, 4
LOOPS = ("authors", "deterministic", "mixed")


def main() -> None:
    """Parent: run the loops in turn and report. With --loop: one loop, its rate on the last line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--images", type=int, default=5120)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--authors", type=Path, help="a checkout of the authors' released code, instead of the feature form here")
    parser.add_argument("--loop", choices=LOOPS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.loop:
        print(json.dumps({"images_per_second": _rate(arguments)}))
        return
    shared = ["benchmarks.epoch", "--channels", str(arguments.channels), "--images", str(arguments.images)]
    if arguments.authors:
        shared += ["--authors", str(arguments.authors)]
    found = in_turn({loop: [*shared, "--loop", loop] for loop in LOOPS}, rounds=arguments.rounds)
    rates = {loop: [result["images_per_second"] for result in results] for loop, results in found.items()}
    rows = compared({loop: [BATCH / rate for rate in mine] for loop, mine in rates.items()})
    per_second = [f"{BATCH / row.median:.0f}" for row in rows]
    title = f"training loop, MgNet[2,2,2,2]-[{arguments.channels}]-B^l, batches of {BATCH}"
    print_timing(title, rows, {"images/s": per_second})
    print(write("epoch", [row.as_json() for row in rows], **vars(arguments)))


def _rate(arguments: argparse.Namespace) -> float:
    steps = _authors_steps(arguments) if arguments.loop == "authors" else _mgnet_train_steps(arguments)
    done = [time.perf_counter() for _ in steps]
    return BATCH * (len(done) - UNTIMED) / (done[-1] - done[UNTIMED - 1])


def _authors_steps(arguments: argparse.Namespace) -> Iterator[None]:
    from benchmarks.made_up_data import loader, resident
    from benchmarks.variants import authors_variant, mgnet, variant

    model = mgnet(f"MgNet[2,2,2,2]-[{arguments.channels}]-B^l")
    chosen = authors_variant(arguments.authors, model.notation) if arguments.authors else variant(model, "feature")
    network = chosen.network.train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    for x, y in loader(resident(arguments.images), batch=BATCH, workers=4):
        loss = F.cross_entropy(chosen.forward(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield


def _mgnet_train_steps(arguments: argparse.Namespace) -> Iterator[None]:
    print(set_allocator("keep"))
    from benchmarks.made_up_data import resident
    from benchmarks.variants import mgnet
    from mgnet_train.config.execution import Execution
    from mgnet_train.config.recipes import find_recipe
    from mgnet_train.data.resident import ResidentTrainLoader
    from mgnet_train.train.distributed import Processes
    from mgnet_train.train.metrics import RunningMetrics
    from mgnet_train.train.optim import make_optimizer
    from mgnet_train.train.precision import Executor, apply_global_settings
    from mgnet_train.train.step import train_step

    processes = Processes(rank=0, world=1, device=torch.device("cpu"))
    name = "mgnet_2_2_2_2_c256_bl"
    recipe = find_recipe("released-code", dataset="cifar100", model=name)
    execution = Execution(precision=arguments.loop).resolved("cpu")
    apply_global_settings(execution)
    executor = Executor(execution, processes.device)
    network = executor.prepare(mgnet(f"MgNet[2,2,2,2]-[{arguments.channels}]-B^l")).train()
    optimizer, metrics = make_optimizer(network, recipe), RunningMetrics(processes.device)
    training = ResidentTrainLoader(resident(arguments.images), recipe, seed=0, processes=processes)
    for number, batch in enumerate(training.epoch(0, first_step=0)):
        train_step(network, optimizer, batch, recipe, executor=executor, processes=processes, metrics=metrics, step=number)
        yield


if __name__ == "__main__":
    main()
