"""How many training images a second: the data path of mgnet-train against a per-sample torchvision DataLoader.

python -m benchmarks.data_path [--images 10000] [--rounds 3]
Both deliver shifted, mirrored, normalized float32 batches of 128 CIFAR-sized images (made up, since only the time counts),
each with one torch thread, in turn. The baseline is the DataLoader with two workers, its fastest on two cores.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from typing import Any

import torch

from benchmarks.made_up_data import loader, resident
from benchmarks.report import print_timing, write
from benchmarks.timing import in_turn
from mgnet_train.config.recipes import find_recipe
from mgnet_train.data.resident import ResidentTrainLoader
from mgnet_train.train.distributed import Processes

BATCH = 128


def main() -> None:
    """Time one epoch of each path in turn, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    data = resident(arguments.images)
    recipe = find_recipe("paper-v2", dataset="cifar100", model="")
    alone = Processes(rank=0, world=1, device=torch.device("cpu"))
    training = ResidentTrainLoader(data, recipe, seed=0, processes=alone)
    paths: dict[str, Callable[[], Iterable[Any]]] = {
        "DataLoader, 2 workers": lambda: loader(data, batch=BATCH, workers=2),
        "DataLoader, 0 workers": lambda: loader(data, batch=BATCH, workers=0),
        "mgnet-train": lambda: training.epoch(0, first_step=0),
    }
    rows = in_turn({name: lambda path=path: _through(path()) for name, path in paths.items()}, rounds=arguments.rounds)
    print_timing("data path, one epoch", rows, {"images/s": [f"{arguments.images / row.median:,.0f}" for row in rows]})
    print(write("data_path", [row.as_json() for row in rows], **vars(arguments)))


def _through(batches: Iterable[Any]) -> None:
    for _ in batches:
        pass


if __name__ == "__main__":
    main()
