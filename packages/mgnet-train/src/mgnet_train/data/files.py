"""Loaders of images that worker processes read from files, in the order of the epoch and with stateless augmentation.

A corrupt file is never replaced in a test: it counts as a wrong answer. In training the next good image of the same class
takes its place. Both are counted and named, with the reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2

from mgnet_records.errors import InputError, printable
from mgnet_train.config.recipe import Recipe
from mgnet_train.data.augment import Normalize
from mgnet_train.data.dataset import Batch
from mgnet_train.data.decoding import CorruptImageError, decode
from mgnet_train.data.imagenet.images import ImageFiles, StreamedDataset
from mgnet_train.data.reading import why
from mgnet_train.data.rng import epoch_order, stream_seed
from mgnet_train.data.workers import batches
from mgnet_train.errors import DataError
from mgnet_train.train.distributed import Processes

# A run stops when more than this share of the training images is corrupt: then the data set is not what it should be.
_CORRUPT_LIMIT = 0.001
Sample = tuple[Tensor | None, int, str | None]
"""An image, or None where there is none to be had; its label; and which file is corrupt and why, if there was one."""


class _TrainingFiles(Dataset[Sample]):
    def __init__(self, files: ImageFiles, seed: int, size: tuple[int, int], *, flip: bool) -> None:
        self._files, self._seed = files, seed
        self._crop = v2.RandomResizedCrop(size, antialias=True)
        self._flip = v2.RandomHorizontalFlip(0.5 if flip else 0.0)

    def __getitem__(self, at: tuple[int, int]) -> Sample:
        epoch, index = at
        image, corrupt = self._read(index)
        if image is not None:
            # The transforms draw from the worker's global generator. Seeded for each image, so that neither the
            # worker that reads it nor what was read before matters.
            torch.default_generator.manual_seed(stream_seed(self._seed, "augment", epoch, index))
            image = self._flip(self._crop(image))
        return image, int(self._files.labels[index]), corrupt

    def _read(self, index: int) -> tuple[Tensor | None, str | None]:
        image, corrupt = _read(self._files, index)
        if image is not None:
            return image, None
        # The next images of the class, around its end to its beginning, until one can be decoded.
        same = np.flatnonzero(self._files.labels == self._files.labels[index])
        others = np.roll(same, -int(np.searchsorted(same, index)))[1:]
        images = (_read(self._files, int(other))[0] for other in others)
        return next((image for image in images if image is not None), None), corrupt


class _TestFiles(Dataset[Sample]):
    def __init__(self, files: ImageFiles, size: tuple[int, int]) -> None:
        self._files = files
        self._transform = v2.Compose([v2.Resize(256 * size[0] // 224, antialias=True), v2.CenterCrop(size)])

    def __getitem__(self, index: int) -> Sample:
        (image, corrupt), label = _read(self._files, index), int(self._files.labels[index])
        return None if image is None else self._transform(image), label, corrupt


def _read(files: ImageFiles, index: int) -> tuple[Tensor | None, str | None]:
    """An image, or None and which file is corrupt and why."""
    try:
        return decode(files.encoded(index)), None
    except CorruptImageError as error:
        reason = str(error)
    except OSError as error:
        reason = why(error)
    return None, printable(f"{files.location(index)} ({reason})")


class FileTrainLoader:
    """The training images of a data set of image files."""

    def __init__(self, data: StreamedDataset, recipe: Recipe, *, seed: int, processes: Processes, workers: int) -> None:
        if recipe.mixup:
            raise InputError(f"mixup={recipe.mixup} needs a data set that stays on the device, unlike {data.name}: use --mixup 0")
        if recipe.crop != "resized":
            raise InputError(f"crop={recipe.crop} cannot make images of one size from {data.name}: use --crop resized")
        self.images = len(data.train)
        self.steps = -(-self.images // recipe.batch_size)
        self.corrupt_files: set[str] = set()
        self._batch_size, self._seed, self._processes, self._workers = recipe.batch_size, seed, processes, workers
        self._files, self._size = _TrainingFiles(data.train, seed, data.size, flip=recipe.flip), data.size
        self._normalize = Normalize(data.info, processes.device)

    def epoch(self, epoch: int, *, first_step: int) -> Iterator[Batch]:
        """The batches of one epoch from `first_step` on."""
        sequence = epoch_order(self._seed, epoch, self.images).tolist()
        size, processes = self._batch_size, self._processes
        wholes = [sequence[step * size : (step + 1) * size] for step in range(first_step, self.steps)]
        mine = [[(epoch, index) for index in whole[processes.rank :: processes.world]] for whole in wholes]
        loader = _batches(self._files, mine, self._size, self._workers, processes)
        for whole, part, (images, labels, corrupt) in zip(wholes, mine, loader):
            self._note(corrupt)
            if len(labels) < len(part):
                raise DataError(f"no other image of its class can be decoded in place of {', '.join(corrupt)}: get them again")
            images = self._normalize(images.to(processes.device, non_blocking=True))
            yield Batch(images=images, labels=labels.to(processes.device, non_blocking=True), step_images=len(whole))

    def _note(self, corrupt: list[str]) -> None:
        self.corrupt_files.update(corrupt)
        if len(self.corrupt_files) > max(1.0, _CORRUPT_LIMIT * self.images):
            raise DataError(
                f"{len(self.corrupt_files)} corrupt images, such as {', '.join(sorted(self.corrupt_files)[:3])}: get them again"
            )


class FileEvalLoader:
    """The test images of a data set of image files; each process reads every `world`-th one, none twice."""

    def __init__(self, data: StreamedDataset, *, batch_size: int, processes: Processes, workers: int) -> None:
        self.corrupt = 0
        self.corrupt_files: set[str] = set()
        self._files, self._size = _TestFiles(data.test, data.size), data.size
        mine = list(range(processes.rank, len(data.test), processes.world))
        self._batches = [mine[first : first + batch_size] for first in range(0, len(mine), batch_size)]
        self._processes, self._workers = processes, workers
        self._normalize = Normalize(data.info, processes.device)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        self.corrupt = 0
        for images, labels, corrupt in _batches(self._files, self._batches, self._size, self._workers, self._processes):
            self.corrupt += len(corrupt)
            self.corrupt_files.update(corrupt)
            if len(labels):
                yield self._normalize(images.to(self._processes.device)), labels.to(self._processes.device)


def _batches(
    files: Dataset[Sample], indices: list[list[Any]], size: tuple[int, int], workers: int, processes: Processes
) -> Iterator[Any]:
    return batches(files, indices, collate=partial(_collate, size), workers=workers, pin_memory=processes.device.type == "cuda")


def _collate(size: tuple[int, int], samples: list[Sample]) -> tuple[Tensor, Tensor, list[str]]:
    """A process's part of a step, which may be empty: the last step may have fewer images than there are processes."""
    read = [(image, label) for image, label, _ in samples if image is not None]
    images = torch.stack([image for image, _ in read]) if read else torch.empty(0, 3, *size, dtype=torch.uint8)
    return (
        images,
        torch.tensor([label for _, label in read], dtype=torch.int64),
        [location for _, _, location in samples if location is not None],
    )
