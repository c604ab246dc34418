"""Batches of a data set that lives on the device as one tensor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from mgnet_train.config.recipe import Recipe
from mgnet_train.data.augment import Draws, Normaliser, Shifter
from mgnet_train.data.dataset import ResidentDataset, Split
from mgnet_train.data.mixup import Mixture, mixture_of_step
from mgnet_train.data.rng import order
from mgnet_train.errors import UserError
from mgnet_train.train.distributed import Processes


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One process's part of a step: images (b, c, h, w) float32, labels (b,), and the images of the whole step."""

    images: Tensor
    labels: Tensor
    of_step: int
    mixture: Mixture | None = None


class ResidentTraining:
    """The training images of a resident data set, in the keyed order, augmented on the device."""

    def __init__(self, data: ResidentDataset, recipe: Recipe, *, seed: int, processes: Processes) -> None:
        if recipe.crop != "whole":
            raise UserError(f"crop={recipe.crop} is for image files: use --crop whole on {data.name}")
        self.images = len(data.train)
        self.steps = -(-self.images // recipe.batch_size)
        self._recipe, self._seed, self._processes = recipe, seed, processes
        device = processes.device
        self._shift = Shifter(data.train.images.to(device), pad=recipe.pad)
        self._labels = data.train.labels.to(device)
        self._normalise = Normaliser(data.facts, device)

    def epoch(self, epoch: int, *, first_step: int) -> Iterator[Batch]:
        """The batches of one epoch from `first_step` on; a step's images do not depend on where one starts."""
        recipe, device = self._recipe, self._processes.device
        sequence = order(self._seed, epoch, self.images).to(device)
        draws = Draws.of_epoch(self._seed, epoch, self.images, pad=recipe.pad, flip=recipe.flip, device=device)
        for step in range(first_step, self.steps):
            whole = sequence[step * recipe.batch_size : (step + 1) * recipe.batch_size]
            mixture = None
            if recipe.mixup:
                mixture = mixture_of_step(recipe.mixup, self._seed, epoch, step)
            yield self._batch(whole, draws, mixture)

    def _batch(self, whole: Tensor, draws: Draws, mixture: Mixture | None) -> Batch:
        mine = slice(self._processes.rank, None, self._processes.world)
        index = whole[mine]
        images = self._normalise(self._shift(index, draws))
        labels = self._labels[index]
        if mixture is not None:
            partner = whole.roll(1)[mine]
            mixture = mixture.with_labels(self._labels[partner])
            images = torch.lerp(self._normalise(self._shift(partner, draws)), images, mixture.weight)
        return Batch(images=images, labels=labels, of_step=len(whole), mixture=mixture)


class ResidentTest:
    """The test images of a resident data set; each process sees every `world`-th image, none twice."""

    def __init__(self, data: ResidentDataset, *, batch_size: int, processes: Processes) -> None:
        split: Split = data.test
        mine = slice(processes.rank, None, processes.world)
        self._images = split.images[mine].to(processes.device)
        self._labels = split.labels[mine].to(processes.device)
        self._normalise = Normaliser(data.facts, processes.device)
        self._batch_size = batch_size
        self.unreadable = 0

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for first in range(0, len(self._labels), self._batch_size):
            part = slice(first, first + self._batch_size)
            yield self._normalise(self._images[part]), self._labels[part]
