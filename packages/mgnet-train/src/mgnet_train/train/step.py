"""One training step: micro-batches, loss, gradients, optimizer. No files, no clock, no printing."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from mgnet_train.config.recipe import Recipe
from mgnet_train.data.dataset import Batch
from mgnet_train.data.mixup import Mixup
from mgnet_train.train.distributed import Processes
from mgnet_train.train.metrics import RunningMetrics
from mgnet_train.train.precision import Executor

LossSum = Callable[[Tensor, Batch, float], Tensor]


def cross_entropy_sum(logits: Tensor, batch: Batch, smoothing: float) -> Tensor:
    """The sum over the images of the cross entropy of logits (b, classes), for mixup with both labels by their weights."""
    loss = F.cross_entropy(logits, batch.labels, reduction="sum", label_smoothing=smoothing)
    if batch.mixup is None:
        return loss
    other = F.cross_entropy(logits, batch.mixup.labels, reduction="sum", label_smoothing=smoothing)
    return batch.mixup.weight * loss + (1 - batch.mixup.weight) * other


def train_step(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    recipe: Recipe,
    *,
    executor: Executor,
    processes: Processes,
    metrics: RunningMetrics,
    step: int,
    loss_sum: LossSum = cross_entropy_sum,
) -> None:
    """One optimizer step. The gradient is that of the mean loss over all images of the step, however they are divided.

    DistributedDataParallel averages gradients over processes, each of which may have another number of images. So each
    process divides the *sum* of its losses by the images of the whole step and multiplies it by the number of processes:

        1/world * sum over processes of [world / step_images * sum of losses]  =  mean over all images of the step
    """
    optimizer.zero_grad(set_to_none=True)
    parts = _micro_batches(batch, recipe.accumulate)
    for number, part in enumerate(parts, start=1):
        with _no_sync(network, number < len(parts)), executor.context():
            logits = network(executor.to_memory_format(part.images))
            loss = loss_sum(logits.float(), part, recipe.label_smoothing)
            (loss * (processes.world / part.step_images)).backward()
        metrics.add(loss.detach(), logits, part.labels, step)
    optimizer.step()


def _micro_batches(batch: Batch, count: int) -> list[Batch]:
    if count == 1:
        return [batch]
    images, labels = batch.images.chunk(count), batch.labels.chunk(count)
    mixups: list[Mixup | None] = [None] * len(images)
    if batch.mixup is not None:
        mixups = [batch.mixup.with_labels(part) for part in batch.mixup.labels.chunk(count)]
    return [Batch(images=x, labels=y, step_images=batch.step_images, mixup=mixup) for x, y, mixup in zip(images, labels, mixups)]


def _no_sync(network: nn.Module, more_to_come: bool) -> AbstractContextManager[Any]:
    """Processes exchange gradients once a step, in the backward pass of its last micro-batch."""
    return network.no_sync() if more_to_come and isinstance(network, DistributedDataParallel) else nullcontext()
