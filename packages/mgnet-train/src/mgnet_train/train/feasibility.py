"""What would end a training at its last batch, or at its last line, found before the first step."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy

import torch
from torch import Tensor, nn

from mgnet_records.errors import InputError
from mgnet_train.config.network import executed_form
from mgnet_train.config.recipe import Recipe
from mgnet_train.data.dataset import ResidentDataset
from mgnet_train.data.loaders import Dataset
from mgnet_train.errors import DataError
from mgnet_train.train.precision import Executor


def require_trainable(network: nn.Module, recipe: Recipe, data: Dataset, *, executor: Executor, processes: int) -> None:
    """Raise InputError when the network cannot be trained on the data by the recipe, with so many processes.

    Runs a copy of the network in training mode, as the executor has it, on as few blank images as a step of one process will
    ever have.
    """
    _require_images(recipe, data)
    images, normalized_together = len(data.train), 1 if recipe.batchnorm == "sync" else processes
    fewest = min(_part_sizes(images, recipe.batch_size, recipe.accumulate, normalized_together))
    _require_logits(network, data, executor)
    if fewest > 1 or not _needs_two_images(network, data, executor):
        return
    near = _nearest_batch_size(images, recipe, normalized_together)
    where = "" if processes == 1 else f" for one of {processes} processes"
    raise InputError(
        f"batch_size={recipe.batch_size} leaves 1 of the {images} training images in a step{where}, and this network normalizes "
        f"grids of one pixel, where BatchNorm needs 2 images: use --batch-size {near}"
    )


def _require_images(recipe: Recipe, data: Dataset) -> None:
    for name, images in (("training", data.train), ("test", data.test)):
        if not len(images):
            raise DataError(f"data set {data.name} has no {name} images: get it again, or give another folder with --data-dir")
    if recipe.batch_size > len(data.train):
        raise InputError(
            f"batch_size={recipe.batch_size} is more than the {len(data.train)} training images of {data.name}: "
            f"use --batch-size {len(data.train)} or less"
        )
    if isinstance(data, ResidentDataset):
        for name, split in (("training", data.train), ("test", data.test)):
            low, high = int(split.labels.min()), int(split.labels.max())
            if low < 0 or high >= data.info.num_classes:
                raise DataError(
                    f"data set {data.name} has {name} labels from {low} to {high} for {data.info.num_classes} classes: get it again"
                )


def _part_sizes(images: int, batch_size: int, accumulate: int, processes: int) -> Iterator[int]:
    """How many images a process has in a micro-batch: in the batches of an epoch, of which the last is the smallest."""
    for whole in {min(batch_size, images), images % batch_size or batch_size}:
        for share in {whole // processes, -(-whole // processes)} - {0}:
            size = -(-share // accumulate)
            yield size
            yield share % size or size


def _nearest_batch_size(images: int, recipe: Recipe, processes: int) -> int:
    candidates = range(2 * recipe.accumulate * processes, images + 1)
    good = (size for size in candidates if min(_part_sizes(images, size, recipe.accumulate, processes)) > 1)
    return min(good, key=lambda size: (abs(size - recipe.batch_size), -size), default=images)


def _require_logits(network: nn.Module, data: Dataset, executor: Executor) -> None:
    logits = _trained_once(network, data, executor, images=2)
    expected = (2, data.info.num_classes)
    if not isinstance(logits, Tensor) or tuple(logits.shape) != expected:
        found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise InputError(
            f"{type(network).__name__} gives {found} for 2 images of {data.name}, not logits {expected}: leave out the "
            "--model-arg that changes its output"
        )


def _needs_two_images(network: nn.Module, data: Dataset, executor: Executor) -> bool:
    try:
        _trained_once(network, data, executor, images=1)
    except InputError:
        return True
    return False


def _trained_once(network: nn.Module, data: Dataset, executor: Executor, *, images: int) -> object:
    blank = torch.zeros(images, data.info.input_size[0], *data.size, device=executor.device)
    copy = executed_form(executor.prepare(deepcopy(network)), executor.execution.form).train()
    # Of the copy neither weights nor random numbers are seen again.
    with torch.no_grad(), torch.random.fork_rng(devices=[]), executor.context():
        try:
            return copy(executor.to_memory_format(blank))
        except (RuntimeError, ValueError, IndexError, TypeError, AssertionError) as error:
            why = " ".join(str(error).split())
            raise InputError(
                f"{type(network).__name__} cannot be trained on images {tuple(blank.shape[1:])} of {data.name} ({why}): use "
                "another network, or leave out its --model-arg"
            ) from None
