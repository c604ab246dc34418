"""Loaders of a data set that lives on the device as one tensor: no worker processes, augmentation in batches."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from mgnet_records.errors import InputError
from mgnet_train.config.recipe import Recipe
from mgnet_train.data.augment import AugmentationParameters, Normalize, RandomCrop, random_flip
from mgnet_train.data.dataset import Batch, ResidentDataset
from mgnet_train.data.mixup import Mixup, mixup_of_step
from mgnet_train.data.rng import epoch_order
from mgnet_train.train.distributed import Processes


class ResidentTrainLoader:
    """The training images of a resident data set in the order of the epoch, augmented on the device."""

    def __init__(self, data: ResidentDataset, recipe: Recipe, *, seed: int, processes: Processes) -> None:
        if recipe.crop != "whole":
            raise InputError(f"crop={recipe.crop} is for image files: use --crop whole on {data.name}")
        self.images = len(data.train)
        self.steps = -(-self.images // recipe.batch_size)
        self.corrupt_files: set[str] = set()  # what is in memory was read whole
        self._recipe, self._seed, self._processes = recipe, seed, processes
        device = processes.device
        self._random_crop = RandomCrop(data.train.images.to(device), pad=recipe.pad)
        self._labels = data.train.labels.to(device)
        self._normalize = Normalize(data.info, device)

    def epoch(self, epoch: int, *, first_step: int) -> Iterator[Batch]:
        """The batches of one epoch from `first_step` on; a step's images do not depend on where one starts."""
        recipe, device = self._recipe, self._processes.device
        order = epoch_order(self._seed, epoch, self.images).to(device)
        parameters = AugmentationParameters.of_epoch(
            self._seed, epoch, self.images, pad=recipe.pad, flip=recipe.flip, device=device
        )
        for step in range(first_step, self.steps):
            whole = order[step * recipe.batch_size : (step + 1) * recipe.batch_size]
            mixup = mixup_of_step(recipe.mixup, self._seed, epoch, step) if recipe.mixup else None
            yield self._batch(whole, parameters, mixup)

    def _batch(self, whole: Tensor, parameters: AugmentationParameters, mixup: Mixup | None) -> Batch:
        mine = slice(self._processes.rank, None, self._processes.world)
        index = whole[mine]
        images = self._augmented(index, parameters)
        labels = self._labels[index]
        if mixup is not None:
            # The partner is the neighbor in the whole step's batch, so it does not depend on the number of processes.
            partner = whole.roll(1)[mine]
            mixup = mixup.with_labels(self._labels[partner])
            images = torch.lerp(self._augmented(partner, parameters), images, mixup.weight)
        return Batch(images=images, labels=labels, step_images=len(whole), mixup=mixup)

    def _augmented(self, index: Tensor, parameters: AugmentationParameters) -> Tensor:
        return self._normalize(random_flip(self._random_crop(index, parameters), index, parameters))


class ResidentEvalLoader:
    """The test images of a resident data set; each process sees every `world`-th image, none twice."""

    def __init__(self, data: ResidentDataset, *, batch_size: int, processes: Processes) -> None:
        mine = slice(processes.rank, None, processes.world)
        self._images = data.test.images[mine].to(processes.device)
        self._labels = data.test.labels[mine].to(processes.device)
        self._normalize = Normalize(data.info, processes.device)
        self._batch_size = batch_size
        self.corrupt = 0
        self.corrupt_files: set[str] = set()

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for first in range(0, len(self._labels), self._batch_size):
            part = slice(first, first + self._batch_size)
            yield self._normalize(self._images[part]), self._labels[part]
