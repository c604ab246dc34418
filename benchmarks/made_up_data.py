"""CIFAR-shaped images made up from a seed, as this project holds them and as a loader of single PIL images gives them."""

from __future__ import annotations

from typing import Any

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from mgnet_records.datasets import DATA_SETS
from mgnet_train.data.dataset import ResidentDataset, Split


def resident(images: int) -> ResidentDataset:
    """`images` training and 100 test images, uint8 (n, 3, 32, 32), with 100 classes."""
    source = torch.Generator().manual_seed(0)
    splits = []
    for count in (images, 100):
        pixels = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=source)
        splits.append(Split(images=pixels, labels=torch.randint(0, 100, (count,), generator=source)))
    return ResidentDataset(name="cifar100", train=splits[0], test=splits[1])


class _Pictures(Dataset[Any]):
    """One PIL image after the other, cropped, mirrored and normalized on its own, as torchvision's CIFAR does."""

    def __init__(self, data: ResidentDataset) -> None:
        self._pixels = data.train.images.permute(0, 2, 3, 1).contiguous().numpy()
        self._labels = data.train.labels.tolist()
        facts = DATA_SETS["cifar100"]
        self._transform = transforms.Compose(
            [
                transforms.RandomCrop(32, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(facts.mean, facts.std),
            ]
        )

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self._transform(Image.fromarray(self._pixels[index])), self._labels[index]


def loader(data: ResidentDataset, *, batch: int, workers: int) -> DataLoader[Any]:
    """The training images of `data` from worker processes, shuffled."""
    return DataLoader(_Pictures(data), batch_size=batch, shuffle=True, num_workers=workers)
