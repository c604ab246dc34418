"""One step of training and one evaluation: arithmetic only, no files, no clock, no printing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from mgnet_train.config.recipe import Recipe
from mgnet_train.data.mixup import Mixture
from mgnet_train.data.resident import Batch
from mgnet_train.train.distributed import Processes
from mgnet_train.train.metrics import Totals
from mgnet_train.train.precision import Arithmetic


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Counts over every image once; `unreadable` images are part of `n` and count as wrong.

    `confusion` (classes, classes) has a row for each true class.
    """

    n: int
    correct: int
    unreadable: int
    loss: float
    confusion: Tensor


class TestImages(Protocol):
    """This process's share of the test images, with their labels; `unreadable` counts those whose file is damaged."""

    unreadable: int

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]: ...


def train_step(
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    batch: Batch,
    recipe: Recipe,
    *,
    arithmetic: Arithmetic,
    processes: Processes,
    totals: Totals,
    step: int,
) -> None:
    """One update. The gradient is that of the mean loss over the whole step's images, however they are divided."""
    optimiser.zero_grad(set_to_none=True)
    parts = _parts(batch, recipe.accumulate)
    for number, part in enumerate(parts, start=1):
        with _gradients_kept_back(network, number < len(parts)), arithmetic.context():
            logits = network(arithmetic.images(part.images))
            loss_sum = _loss_sum(logits.float(), part, recipe.label_smoothing)
            (loss_sum * (processes.world / part.of_step)).backward()
        totals.add(loss_sum.detach(), logits, part.labels, step)
    optimiser.step()


@torch.no_grad()
def evaluate(
    network: nn.Module,
    images: TestImages,
    *,
    classes: int,
    arithmetic: Arithmetic,
    processes: Processes,
    between_batches: Callable[[], None],
) -> Evaluation:
    """Count right answers over this and all other processes; `between_batches` may raise to give up."""
    was_training = network.training
    network.eval()
    confusion = torch.zeros(classes * classes, dtype=torch.int64, device=processes.device)
    loss = torch.zeros((), dtype=torch.float64, device=processes.device)
    try:
        for x, y in images:
            between_batches()
            with arithmetic.context():
                logits = network(arithmetic.images(x))
            loss += F.cross_entropy(logits.float(), y, reduction="sum")
            confusion += torch.bincount(y * classes + logits.argmax(1), minlength=classes * classes)
    finally:
        network.train(was_training)
    return _evaluation(confusion, loss, images.unreadable, classes, processes)


def _evaluation(confusion: Tensor, loss: Tensor, unreadable: int, classes: int, processes: Processes) -> Evaluation:
    confusion = processes.total(confusion).cpu().view(classes, classes)
    loss_sum, missing = processes.total(torch.stack([loss, torch.full_like(loss, unreadable)])).tolist()
    read = int(confusion.sum())
    return Evaluation(
        n=read + round(missing),
        correct=int(confusion.diagonal().sum()),
        unreadable=round(missing),
        loss=loss_sum / max(read, 1),
        confusion=confusion,
    )


def _loss_sum(logits: Tensor, batch: Batch, smoothing: float) -> Tensor:
    loss = F.cross_entropy(logits, batch.labels, reduction="sum", label_smoothing=smoothing)
    if batch.mixture is None:
        return loss
    other = F.cross_entropy(logits, batch.mixture.labels, reduction="sum", label_smoothing=smoothing)
    return batch.mixture.weight * loss + (1 - batch.mixture.weight) * other


def _parts(batch: Batch, count: int) -> list[Batch]:
    if count == 1:
        return [batch]
    images, labels = batch.images.chunk(count), batch.labels.chunk(count)
    mixtures: list[Mixture | None] = [None] * len(images)
    if batch.mixture is not None:
        mixtures = [batch.mixture.with_labels(part) for part in batch.mixture.labels.chunk(count)]
    return [Batch(images=x, labels=y, of_step=batch.of_step, mixture=mixture) for x, y, mixture in zip(images, labels, mixtures)]


def _gradients_kept_back(network: nn.Module, keep: bool) -> AbstractContextManager[Any]:
    """Processes exchange gradients once a step, at its last part."""
    return network.no_sync() if keep and isinstance(network, DistributedDataParallel) else nullcontext()
