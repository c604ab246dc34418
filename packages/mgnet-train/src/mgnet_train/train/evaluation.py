"""Counting correct answers on test images: of a network in training, or of a checkpoint outside of any run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import mgnet_models
from mgnet_records.errors import InputError
from mgnet_train.config.execution import Execution
from mgnet_train.config.network import check_fits
from mgnet_train.data.dataset import EvalLoader
from mgnet_train.data.loaders import Dataset, make_eval_loader
from mgnet_train.data.loading import load_dataset
from mgnet_train.data.workers import worker_failures
from mgnet_train.errors import DataError
from mgnet_train.train.distributed import Processes, start_processes
from mgnet_train.train.precision import Executor, apply_global_settings


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Counts over every image once; the `corrupt` ones are part of `n` and count as wrong.

    `correct_top5` counts images whose class is among the five with the largest logits, of equal ones the first as for `correct`.
    `loss` is the mean over the images that could be decoded. `confusion` (classes, classes) int64 has a row for each true
    class and a column for each answer.
    """

    n: int
    correct: int
    correct_top5: int
    corrupt: int
    loss: float
    confusion: Tensor


@torch.no_grad()
def evaluate(
    network: nn.Module,
    images: EvalLoader,
    *,
    classes: int,
    executor: Executor,
    processes: Processes,
    between_batches: Callable[[], None] = lambda: None,
) -> Evaluation:
    """Count correct answers over this and all other processes; `between_batches` may raise to abort."""
    was_training = network.training
    network.eval()
    confusion = torch.zeros(classes * classes, dtype=torch.int64, device=processes.device)
    loss = torch.zeros((), dtype=torch.float64, device=processes.device)
    top5 = torch.zeros((), dtype=torch.float64, device=processes.device)
    try:
        for x, y in images:
            between_batches()
            with executor.context():
                logits = network(executor.to_memory_format(x))
            loss += F.cross_entropy(logits.float(), y, reduction="sum")
            confusion += torch.bincount(y * classes + logits.argmax(1), minlength=classes * classes)
            top5 += ranks(logits, y).lt(5).sum()
    finally:
        network.train(was_training)
    confusion = processes.all_reduce(confusion).cpu().view(classes, classes)
    sums = processes.all_reduce(torch.stack([loss, top5, torch.full_like(loss, images.corrupt)]))
    loss_sum, correct_top5, corrupt = sums.tolist()
    decoded = int(confusion.sum())
    return Evaluation(
        n=decoded + round(corrupt),
        correct=int(confusion.diagonal().sum()),
        correct_top5=round(correct_top5),
        corrupt=round(corrupt),
        loss=loss_sum / max(decoded, 1),
        confusion=confusion,
    )


def ranks(logits: Tensor, labels: Tensor) -> Tensor:
    """The place of each image's class (b,) among its logits (b, classes), from 0; place 0 is what `argmax` answers.

    Larger logits go first, of equal ones the one before, and NaN before all numbers.
    """
    own = logits.gather(1, labels[:, None])
    before = torch.arange(logits.shape[1], device=logits.device) < labels[:, None]
    ahead = (logits > own) | ((logits == own) & before) | (logits.isnan() & (before | ~own.isnan()))
    return ahead.sum(1)


def evaluate_checkpoint(
    path: Path, *, dataset: str, data_dir: Path, source: str | None, workers: int, device: str, execution: Execution
) -> tuple[Evaluation, list[str]]:
    """The counts of a checkpoint on the test images, and where the corrupt files are.

    Raises InputError when the checkpoint cannot be read and when it and the data do not fit.
    """
    data = load_dataset(dataset, data_dir, source=source, workers=workers, only_test=True)
    network = load_network(path, data)
    if not len(data.test):
        raise DataError(f"data set {dataset} has no test images: get it again, or give another folder with --data-dir")
    processes = start_processes(device)
    execution = execution.resolved(processes.device.type)
    apply_global_settings(execution)
    executor = Executor(execution, processes.device)
    images = make_eval_loader(data, batch_size=256, processes=processes, workers=workers)
    with worker_failures():
        counts = evaluate(executor.prepare(network), images, classes=data.info.num_classes, executor=executor, processes=processes)
    return counts, sorted(images.corrupt_files)


def load_network(path: Path, data: Dataset) -> nn.Module:
    """The network of a checkpoint, in evaluation mode. Raises InputError when it cannot be read or is for other images."""
    try:
        network = mgnet_models.load_checkpoint(path)
    except ValueError as error:
        raise InputError(str(error)) from None
    check_fits(network, data.info, data.size, what=str(path))
    return network
