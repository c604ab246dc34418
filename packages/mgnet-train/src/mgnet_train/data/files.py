"""Batches of images that are read from files by worker processes, in the keyed order and with keyed crops.

A damaged image is never replaced in a test: it counts as a wrong answer. In training the next good image of the same class
stands in for it. Both are counted and named.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from mgnet_train.config.recipe import Recipe
from mgnet_train.data.augment import Normaliser
from mgnet_train.data.imagenet.images import ImageFiles, StreamedDataset, decode
from mgnet_train.data.resident import Batch
from mgnet_train.data.rng import key, order
from mgnet_train.errors import DataError, UserError
from mgnet_train.train.distributed import Processes

_MOST_DAMAGED = 0.001
Sample = tuple[Tensor | None, int, str | None]
"""An image, or None where there is none to be had; its label; and the place of the image that was damaged, if one was."""


class _TrainingFiles(Dataset[Sample]):
    def __init__(self, files: ImageFiles, seed: int, size: tuple[int, int], *, flip: bool) -> None:
        self._files, self._seed = files, seed
        self._crop = v2.RandomResizedCrop(size, antialias=True)
        self._flip = v2.RandomHorizontalFlip(0.5 if flip else 0.0)

    def __getitem__(self, at: tuple[int, int]) -> Sample:
        epoch, index = at
        image, damaged = self._read(index)
        if image is not None:
            # The transforms draw from the worker's global generator: key it, so that workers and restarts do not matter.
            torch.default_generator.manual_seed(key(self._seed, "augment", epoch, index))
            image = self._flip(self._crop(image))
        return image, int(self._files.labels[index]), damaged

    def _read(self, index: int) -> tuple[Tensor | None, str | None]:
        image = _read(self._files, index)
        if image is not None:
            return image, None
        same = np.flatnonzero(self._files.labels == self._files.labels[index])
        others = np.roll(same, -int(np.searchsorted(same, index)))[1:]
        images = (_read(self._files, int(other)) for other in others)
        return next((image for image in images if image is not None), None), self._files.place(index)


class _TestFiles(Dataset[Sample]):
    def __init__(self, files: ImageFiles, size: tuple[int, int]) -> None:
        self._files = files
        self._transform = v2.Compose([v2.Resize(256 * size[0] // 224, antialias=True), v2.CenterCrop(size)])

    def __getitem__(self, index: int) -> Sample:
        image, label = _read(self._files, index), int(self._files.labels[index])
        if image is None:
            return None, label, self._files.place(index)
        return self._transform(image), label, None


def _read(files: ImageFiles, index: int) -> Tensor | None:
    try:
        return decode(files.encoded(index))
    except OSError:
        return None


class StreamingTraining:
    """The training images of a data set of image files."""

    def __init__(self, data: StreamedDataset, recipe: Recipe, *, seed: int, processes: Processes, workers: int) -> None:
        if recipe.mixup:
            raise UserError(f"mixup={recipe.mixup} needs images that stay on the device, which {data.name} does not: use 0")
        if recipe.crop != "resized":
            raise UserError(f"crop={recipe.crop} cannot make images of one size from {data.name}: use --crop resized")
        self.images = len(data.train)
        self.steps = -(-self.images // recipe.batch_size)
        self.damaged: set[str] = set()
        self._batch_size, self._seed, self._processes, self._workers = recipe.batch_size, seed, processes, workers
        self._files, self._size = _TrainingFiles(data.train, seed, data.size, flip=recipe.flip), data.size
        self._normalise = Normaliser(data.facts, processes.device)

    def epoch(self, epoch: int, *, first_step: int) -> Iterator[Batch]:
        """The batches of one epoch from `first_step` on."""
        sequence = order(self._seed, epoch, self.images).tolist()
        size, processes = self._batch_size, self._processes
        wholes = [sequence[step * size : (step + 1) * size] for step in range(first_step, self.steps)]
        mine = [[(epoch, index) for index in whole[processes.rank :: processes.world]] for whole in wholes]
        loader = _loader(self._files, mine, self._size, self._workers, processes)
        for whole, part, (images, labels, damaged) in zip(wholes, mine, loader):
            self._note(damaged)
            if len(labels) < len(part):
                raise DataError(f"no image of its class can be read in place of {', '.join(damaged)}: get them anew")
            images = self._normalise(images.to(processes.device, non_blocking=True))
            yield Batch(images=images, labels=labels.to(processes.device, non_blocking=True), of_step=len(whole))

    def _note(self, damaged: list[str]) -> None:
        self.damaged.update(damaged)
        if len(self.damaged) > max(1.0, _MOST_DAMAGED * self.images):
            raise DataError(f"{len(self.damaged)} damaged images, as {', '.join(sorted(self.damaged)[:3])}: get them anew")


class StreamingTest:
    """The test images of a data set of image files; each process reads every `world`-th one, none twice."""

    def __init__(self, data: StreamedDataset, *, batch_size: int, processes: Processes, workers: int) -> None:
        self.unreadable = 0
        self.damaged: set[str] = set()
        self._files, self._size = _TestFiles(data.test, data.size), data.size
        mine = list(range(processes.rank, len(data.test), processes.world))
        self._batches = [mine[first : first + batch_size] for first in range(0, len(mine), batch_size)]
        self._processes, self._workers = processes, workers
        self._normalise = Normaliser(data.facts, processes.device)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        self.unreadable = 0
        for images, labels, damaged in _loader(self._files, self._batches, self._size, self._workers, self._processes):
            self.unreadable += len(damaged)
            self.damaged.update(damaged)
            if len(labels):
                yield self._normalise(images.to(self._processes.device)), labels.to(self._processes.device)


def _loader(
    files: Dataset[Sample], batches: list[list[Any]], size: tuple[int, int], workers: int, processes: Processes
) -> DataLoader[Any]:
    return DataLoader(
        files,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=partial(_collate, size),
        pin_memory=processes.device.type == "cuda",
        worker_init_fn=_worker_ignores_signals,
    )


def _collate(size: tuple[int, int], samples: list[Sample]) -> tuple[Tensor, Tensor, list[str]]:
    """A process's part of a step, which can be empty: the last step may have fewer images than there are processes."""
    read = [(image, label) for image, label, _ in samples if image is not None]
    images = torch.stack([image for image, _ in read]) if read else torch.empty(0, 3, *size, dtype=torch.uint8)
    return (
        images,
        torch.tensor([label for _, label in read], dtype=torch.int64),
        [place for _, _, place in samples if place is not None],
    )


def _worker_ignores_signals(worker: int) -> None:
    """The training decides when to stop; a worker that dies first would look like an error."""
    import signal

    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
