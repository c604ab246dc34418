"""What two processes compute together is what one computes, to the last bit.

Which equality holds depends on what normalises:

nothing, or running statistics: the gradient is that of the whole batch, however it is divided. Two divisions add the same
    terms in another order, so the test makes every sum exact: weights, images and the loss's slopes are whole numbers, and
    the largest sum of absolute values, computed with the network itself in float64, stays below 2^24 of the unit in which
    all numbers are whole. Then float32 rounds nothing, and any order gives the same bits.
batchnorm=averaged: each process normalises its part by that part, a function of its own. The gradient is the mean, over all
    images of the step, of these losses; one process that computes the parts one after the other does the same operations
    on the same numbers, and a sum of two terms has no order. So the bits are equal for the real network, loss and labels.
    Running statistics are the mean over the processes.
batchnorm=sync: as without, by CUDA kernels that this file cannot run; it tests what is set up.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from timm.layers import SyncBatchNormAct
from torch import Tensor, nn
from torch.nn import functional as F

from mgnet_records.errors import InputError
from mgnet_train.config.execution import Execution
from mgnet_train.config.recipe import Recipe
from mgnet_train.config.recipes import find_recipe
from mgnet_train.data.dataset import Batch, ResidentDataset, Split
from mgnet_train.data.digits import read_digits
from mgnet_train.data.resident import ResidentEvalLoader
from mgnet_train.train.distributed import Processes
from mgnet_train.train.evaluation import evaluate
from mgnet_train.train.metrics import RunningMetrics
from mgnet_train.train.optim import make_optimizer
from mgnet_train.train.precision import Executor, apply_global_settings
from mgnet_train.train.step import LossSum, cross_entropy_sum, train_step

CPU = torch.device("cpu")
EXECUTION = Execution().resolved("cpu")
ALONE = Processes(rank=0, world=1, device=CPU)
WEIGHTS_OF_CLASS = torch.tensor([[3.0, -1, 0, -2], [-1, 2, -1, 0], [0, -3, 1, 2], [1, -1, -2, 2]])
Together = Callable[[Callable[[Processes], object]], list[Any]]


class WholeNumbers(nn.Module):
    """A convolution used twice, as MgNet shares A, with sums, ReLU, a stride, a mean over 16 pixels and a linear map."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1, bias=False)
        self.shared = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.halving = nn.Conv2d(4, 8, 3, stride=2, padding=1)
        self.last = nn.Linear(8, 4)
        draw = torch.Generator().manual_seed(0)
        for parameter in self.parameters():
            signs = torch.randint(-1, 2, parameter.shape, generator=draw)
            kept = torch.rand(parameter.shape, generator=draw) < 0.5
            parameter.data = (signs * kept).float()
        self.values: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        u0 = F.relu(self.first(images))
        u1 = u0 + F.relu(self.shared(u0))
        u2 = u1 + F.relu(self.shared(u1))
        u3 = F.relu(self.halving(u2))
        means = u3.mean((2, 3))
        logits: Tensor = self.last(means)
        self.values = [u0, u1, u2, u3, means, logits]
        return logits


def weighted(logits: Tensor, batch: Batch, smoothing: float) -> Tensor:
    """Instead of cross entropy, whose gradient is no whole number. The factor undoes the division by the step's images."""
    return batch.step_images * (logits * WEIGHTS_OF_CLASS[batch.labels]).sum()


def whole_batch(images: int, classes: int = 4) -> Batch:
    draw = torch.Generator().manual_seed(images)
    return Batch(
        images=torch.randint(0, 2, (images, 1, 8, 8), generator=draw).float(),
        labels=torch.randint(0, classes, (images,), generator=draw),
        step_images=images,
    )


def part_of(batch: Batch, processes: Processes) -> Batch:
    """A process's part, as ResidentTrainLoader and FileTrainLoader divide; tests of theirs hold them to it."""
    mine = slice(processes.rank, None, processes.world)
    return Batch(images=batch.images[mine], labels=batch.labels[mine], step_images=batch.step_images)


def recipe_of(**overrides: str) -> Recipe:
    return find_recipe("digits", dataset="digits", model="").with_overrides({"lr": "1e-30", "weight_decay": "0"} | overrides)


def step(
    network: nn.Module, batch: Batch, recipe: Recipe, processes: Processes, loss_sum: LossSum = cross_entropy_sum
) -> dict[str, Tensor]:
    """The gradients of one step, taken as the training takes it: placed, replicated over a group if there is one."""
    apply_global_settings(EXECUTION)
    executor = Executor(EXECUTION, CPU)
    placed = executor.prepare(network)
    replica = processes.wrap(placed, sync_batchnorm=False) if processes.control is not None else placed
    train_step(
        replica,
        make_optimizer(placed, recipe),
        batch,
        recipe,
        executor=executor,
        processes=processes,
        metrics=RunningMetrics(CPU),
        step=0,
        loss_sum=loss_sum,
    )
    return gradients(placed)


def gradients(network: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.grad.contiguous() for name, parameter in network.named_parameters() if parameter.grad is not None}


def statistics(network: nn.Module) -> dict[str, Tensor]:
    return {name: buffer for name, buffer in network.named_buffers() if buffer.is_floating_point()}


def equal(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def assert_every_sum_is_exact(network: WholeNumbers, batch: Batch) -> None:
    """With absolute values everywhere ReLU does nothing, and each number bounds the partial sums of the one it stands for.

    The mean over 16 pixels, on the way there or back, makes sixteenths of whole numbers, and the mean over two processes
    halves them: the unit is 1/32.
    """
    bound = deepcopy(network).double()
    for parameter in bound.parameters():
        parameter.data.abs_()
    logits = bound(batch.images.double())
    for value in bound.values:
        value.retain_grad()
    (2 * (logits * WEIGHTS_OF_CLASS[batch.labels].abs()).sum()).backward()  # two processes double the loss of their parts
    bounds = [*bound.values, *(value.grad for value in bound.values), *gradients(bound).values()]
    largest = max(float(value.detach().abs().max()) for value in bounds)
    assert largest * 32 < 2**24
    for world in (1, 2):
        assert torch.tensor(world / batch.step_images, dtype=torch.float32) * batch.step_images == world


@pytest.mark.parametrize("accumulate", ["1", "2"])
@pytest.mark.parametrize("images", [8, 5, 1])
def test_the_gradient_of_two_processes_is_that_of_the_mean_over_the_whole_step(
    images: int, accumulate: str, together: Together, tmp_path: Path
) -> None:
    """8 images are 4 and 4, 5 are 3 and 2, and of a single one the second process has none."""
    batch, recipe, network = whole_batch(images), recipe_of(accumulate=accumulate), WholeNumbers()
    assert_every_sum_is_exact(network, batch)
    alone = step(network, batch, recipe, ALONE, weighted)
    assert all(float(gradient.abs().max()) > 0 for gradient in alone.values())

    def work(processes: Processes) -> None:
        save_file(step(WholeNumbers(), part_of(batch, processes), recipe, processes, weighted), tmp_path / f"{processes.rank}")

    assert [member.wait() for member in together(work)] == [0, 0]
    for rank in range(2):
        assert equal(load_file(tmp_path / f"{rank}"), alone)


def small_mgnet() -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model("mgnet", notation="MgNet[2,2]-[4]-B^l", in_chans=1, num_classes=10).train()


@pytest.mark.parametrize("images", [8, 5])
@pytest.mark.parametrize("overrides", [{}, {"label_smoothing": "0.1", "accumulate": "2"}])
def test_with_averaged_statistics_two_processes_compute_what_one_does_part_by_part(
    images: int, overrides: dict[str, str], together: Together, tmp_path: Path
) -> None:
    batch, recipe = whole_batch(images, classes=10), recipe_of(**overrides)
    parts = []
    for rank in range(2):
        network, processes = small_mgnet(), Processes(rank=rank, world=2, device=CPU)
        parts.append((step(network, part_of(batch, processes), recipe, processes), statistics(network)))
    (first, first_statistics), (second, second_statistics) = parts
    assert not equal(first, second)

    def work(processes: Processes) -> None:
        network = small_mgnet()
        save_file(step(network, part_of(batch, processes), recipe, processes), tmp_path / f"gradients{processes.rank}")
        processes.average_(list(statistics(network).values()))
        save_file(statistics(network), tmp_path / f"statistics{processes.rank}")

    assert [member.wait() for member in together(work)] == [0, 0]
    for rank in range(2):
        assert equal(load_file(tmp_path / f"gradients{rank}"), {name: (first[name] + second[name]) / 2 for name in first})
        averages = {name: (first_statistics[name] + second_statistics[name]) / 2 for name in first_statistics}
        assert equal(load_file(tmp_path / f"statistics{rank}"), averages)


def test_two_processes_count_every_test_image_once_when_they_have_unequal_parts(together: Together, tmp_path: Path) -> None:
    digits = read_digits()
    seven = Split(images=digits.test.images[::50][:7], labels=digits.test.labels[::50][:7])
    data = ResidentDataset(name="digits", train=digits.train, test=seven)

    def confusion(processes: Processes) -> Tensor:
        counts = evaluate(
            small_mgnet(),
            ResidentEvalLoader(data, batch_size=2, processes=processes),
            classes=10,
            executor=Executor(EXECUTION, CPU),
            processes=processes,
        )
        assert counts.n == 7
        assert counts.correct == int(counts.confusion.diagonal().sum())
        return counts.confusion

    assert [
        member.wait()
        for member in together(lambda processes: save_file({"counts": confusion(processes)}, tmp_path / f"{processes.rank}"))
    ] == [0, 0]
    alone = confusion(ALONE)
    assert alone.sum(1).tolist() == torch.bincount(seven.labels, minlength=10).tolist()
    for rank in range(2):
        assert torch.equal(load_file(tmp_path / f"{rank}")["counts"], alone)


def test_on_cuda_synchronized_statistics_replace_every_batchnorm_and_keep_its_activation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels and the exchange need CUDA; what is handed to them does not."""
    handed: dict[str, Any] = {}

    def replicate(module: nn.Module, **named: Any) -> nn.Module:
        handed.update(named)
        return module

    monkeypatch.setattr(nn.parallel, "DistributedDataParallel", replicate)
    network = small_mgnet()
    images = torch.rand(3, 1, 8, 8)
    before = deepcopy(network)
    norms = [name for name, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)]
    processes = Processes(rank=1, world=2, device=torch.device("cuda", 1))
    wrapped = processes.wrap(network, sync_batchnorm=True)
    assert handed["device_ids"] == [1]
    assert len(norms) == 11
    assert [name for name, module in wrapped.named_modules() if isinstance(module, SyncBatchNormAct)] == norms
    assert not [name for name, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)]
    assert [p.data_ptr() for p in wrapped.parameters()] == [p.data_ptr() for p in network.parameters()]
    assert wrapped.state_dict().keys() == before.state_dict().keys()
    with torch.no_grad():
        assert torch.equal(wrapped.eval()(images), before.eval()(images))


def test_on_a_cpu_synchronized_statistics_are_rejected_in_one_line_that_names_the_fix() -> None:
    with pytest.raises(InputError, match=r"^batchnorm=sync needs CUDA devices: use batchnorm=averaged on a CPU$"):
        Processes(rank=0, world=2, device=CPU).wrap(small_mgnet(), sync_batchnorm=True)


def test_one_process_has_all_images_and_needs_no_synchronized_statistics() -> None:
    network = small_mgnet()
    assert ALONE.wrap(network, sync_batchnorm=True) is network
