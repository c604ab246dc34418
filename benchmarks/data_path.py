"""How many training images a second: the data path of mgnet-train against a per-sample torchvision DataLoader.

Both paths deliver shifted, mirrored, normalised float32 batches of 128 CIFAR-sized images (made up, since only the time
counts), each with one torch thread. They take turns in one process, so that a busy machine slows both; the ratio is the result.

    python benchmarks/data_path.py [--images 10000] [--rounds 3] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from mgnet_train.batches import ResidentTraining
from mgnet_train.data.dataset import ResidentDataset, Split
from mgnet_train.data.facts import FACTS
from mgnet_train.processes import Processes
from mgnet_train.recipes import find_recipe

BATCH = 128


class PerSample(Dataset[Any]):
    """As torchvision's CIFAR10 with the released code's transforms: one PIL image at a time."""

    def __init__(self, split: Split) -> None:
        self._images, self._labels = split.images.permute(0, 2, 3, 1).contiguous().numpy(), split.labels.tolist()
        data = FACTS["cifar10"].model_data
        self._transform = transforms.Compose(
            [
                transforms.RandomCrop(32, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(data.mean, data.std),
            ]
        )

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self._transform(Image.fromarray(self._images[index])), self._labels[index]


def rate(batches: Callable[[], Iterable[Any]], images: int) -> float:
    """Images a second over one epoch."""
    begin = time.perf_counter()
    for _ in batches():
        pass
    return images / (time.perf_counter() - begin)


def main() -> None:
    """Measure in turns, print and write medians and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    source = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (arguments.images, 3, 32, 32), dtype=torch.uint8, generator=source)
    split = Split(images=images, labels=torch.randint(0, 10, (arguments.images,), generator=source))
    recipe = find_recipe("paper-v2", dataset="cifar10", model="")
    alone = Processes(rank=0, world=1, device=torch.device("cpu"))
    ours = ResidentTraining(ResidentDataset(name="cifar10", train=split, test=split), recipe, seed=0, processes=alone)
    paths: dict[str, Callable[[], Iterable[Any]]] = {
        "resident": lambda: ours.epoch(0, first_step=0),
        "DataLoader, 0 workers": lambda: DataLoader(PerSample(split), BATCH, shuffle=True),
        "DataLoader, 2 workers": lambda: DataLoader(PerSample(split), BATCH, shuffle=True, num_workers=2),
    }
    rates: dict[str, list[float]] = {name: [] for name in paths}
    for _ in range(arguments.rounds):
        for name, path in paths.items():
            rates[name].append(rate(path, arguments.images))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    for name, value in medians.items():
        print(f"{name:24s} {value:12,.0f} images/s   resident / this = {medians['resident'] / value:6.1f}")
    record = {
        "question": "images a second of the data path",
        "images": arguments.images,
        "rounds": arguments.rounds,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "machine": platform.machine(),
        "rates": rates,
        "ratio_to_fastest_loader": medians["resident"] / max(v for k, v in medians.items() if k != "resident"),
    }
    if arguments.json:
        arguments.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
