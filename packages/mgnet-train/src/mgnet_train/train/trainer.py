"""The loop over epochs: steps, then a test, and the state that a checkpoint keeps. No files are written here.

The position is (epoch, step). A state that is saved at any step continues to the same bits, because the order and the
augmentation of the images are functions of seed and epoch, and everything else that changes is in the state.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mgnet_records.run_result import percent
from mgnet_train.config.network import executed_form
from mgnet_train.config.recipe import Recipe
from mgnet_train.data.dataset import EvalLoader, TrainLoader
from mgnet_train.data.rng import stream_seed
from mgnet_train.errors import DivergedError
from mgnet_train.train.distributed import Processes
from mgnet_train.train.evaluation import Evaluation, evaluate
from mgnet_train.train.metrics import RunningMetrics, Snapshot
from mgnet_train.train.optim import learning_rate, make_average, make_optimizer
from mgnet_train.train.precision import Executor
from mgnet_train.train.step import train_step

if TYPE_CHECKING:
    from mgnet_train.runs.callbacks import RunCallbacks


class Trainer:
    """One network in training by a recipe. `executor` says how, `processes` with whom; all processes call the same methods.

    Raises InputError for a form or recompute mode that the network does not have.
    """

    def __init__(
        self,
        network: nn.Module,
        recipe: Recipe,
        *,
        executor: Executor,
        train: TrainLoader,
        test: EvalLoader,
        classes: int,
        seed: int,
        processes: Processes,
        log_every: int,
    ) -> None:
        self.recipe, self.executor, self.train, self.test = recipe, executor, train, test
        self._classes, self._seed, self._processes, self._log_every = classes, seed, processes, log_every
        self.network = executor.prepare(network)
        form = executed_form(self.network, executor.execution.form)
        executor.compile(form)
        self._replica = processes.wrap(form, sync_batchnorm=recipe.batchnorm == "sync")
        self._optimizer = make_optimizer(self.network, recipe)
        self._average = make_average(self.network, recipe)
        self._metrics = RunningMetrics(processes.device)
        self.epoch, self.step = 0, 0
        self.correct: list[int] = []
        self.seconds = 0.0
        self.last_test: Evaluation | None = None

    @property
    def global_step(self) -> int:
        """Training steps done so far."""
        return self.epoch * self.train.steps + self.step

    @property
    def images_trained(self) -> int:
        """Training images seen so far, whole epochs only."""
        return self.train.images * self.epoch

    @property
    def tested_network(self) -> nn.Module:
        """The network whose accuracy counts: the moving average where the recipe has one."""
        return self.network if self._average is None else self._average.module

    def run(self, callbacks: RunCallbacks) -> None:
        """Train to the end of the recipe, from wherever the state is. What `callbacks` raise ends the training."""
        self._replica.train()
        while self.epoch < self.recipe.epochs:
            if self.step < self.train.steps:
                self._train_epoch(callbacks)
                callbacks.save(self)
            self._test_epoch(callbacks)
        callbacks.save(self)

    def synchronize_buffers(self) -> None:
        """Give all processes the mean of their running statistics, here and in the moving average.

        Called after the last step of an epoch and nowhere else: a checkpoint must change nothing, or the clock that decides
        when one is due would decide bits of the result.
        """
        self._processes.average_(self._statistics())

    def _statistics(self) -> list[Tensor]:
        """What differs between processes, of the network and of its moving average."""
        networks = [self.network] if self._average is None else [self.network, self._average.module]
        return [buffer for network in networks for buffer in _running_statistics(network)]

    def state_dict(self) -> dict[str, Any]:
        """Everything that the rest of the training depends on, the same on every process. Reads and changes nothing.

        Weights are equal on all processes. Running statistics and metrics are not, before they are averaged at the end of an
        epoch, so those of every process are gathered: `statistics` (world, numbers) and `metrics` (world, 2, 3).
        Raises DivergedError, on every process, for a number that is not finite.
        """
        statistics = self._processes.all_gather(_flattened(self._statistics(), self._processes.device))
        weights = self.network.state_dict()
        if not all_finite([*weights.values(), statistics]):
            self._diverged(self.global_step - 1)
        return {
            "network": weights,
            "statistics": statistics,
            "optimizer": self._optimizer.state_dict(),
            "average": None if self._average is None else self._average.state_dict(),
            "metrics": self._processes.all_gather(self._metrics.state()),
            "epoch": self.epoch,
            "step": self.step,
            "correct": list(self.correct),
            "seconds": self.seconds,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state; each process takes its own row of what differs between them.

        A group of another size cannot go on with the same bits. It starts from what is well defined: the mean of the running
        statistics, and the metrics of all processes on the first one.
        """
        self.network.load_state_dict(state["network"])
        if self._average is not None:
            self._average.load_state_dict(state["average"])
        self._optimizer.load_state_dict(state["optimizer"])
        rank, is_same_group = self._processes.rank, len(state["statistics"]) == self._processes.world
        statistics = state["statistics"][rank] if is_same_group else state["statistics"].mean(0)
        _unflatten(statistics, self._statistics())
        metrics = state["metrics"]
        self._metrics.load_state(metrics[rank] if is_same_group else metrics.sum(0) * (rank == 0))
        self.epoch, self.step = state["epoch"], state["step"]
        self.correct, self.seconds = list(state["correct"]), state["seconds"]

    def evaluate(self, between_batches: Callable[[], None]) -> Evaluation:
        """Test the network as it is."""
        return evaluate(
            executed_form(self.tested_network, self.executor.execution.form),
            self.test,
            classes=self._classes,
            executor=self.executor,
            processes=self._processes,
            between_batches=between_batches,
        )

    def _train_epoch(self, callbacks: RunCallbacks) -> None:
        rate = learning_rate(self.recipe, self.epoch)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        if self.step == 0:
            self._metrics.begin_epoch()
        clock = time.perf_counter()
        for batch in self.train.epoch(self.epoch, first_step=self.step):
            # What a network draws in a step, as dropout does, is a function of the step, so that no generator is saved.
            torch.manual_seed(stream_seed(self._seed, "dropout", self.global_step, self._processes.rank))
            train_step(
                self._replica,
                self._optimizer,
                batch,
                self.recipe,
                executor=self.executor,
                processes=self._processes,
                metrics=self._metrics,
                step=self.global_step,
            )
            if self._average is not None:
                self._average.update_parameters(self.network)
            self.step += 1
            if self.step == self.train.steps:
                self.synchronize_buffers()  # before any save, so that a state at the end of an epoch is always synchronized
            callbacks.advance(batch.step_images, self.epoch)
            if self.global_step % self._log_every == 0:
                snapshot = self._require_finite(self._metrics.since_mark(self._processes))
                callbacks.log("step", self.global_step, {"train/step_loss": snapshot.loss, "train/lr": rate})
            now = time.perf_counter()
            self.seconds, clock = self.seconds + now - clock, now
            callbacks.poll(self, in_test=False)
            clock = time.perf_counter()  # checkpoints are not training
        self._require_finite(self._metrics.of_epoch(self._processes))  # waits for the device, so that the time is whole
        self.seconds += time.perf_counter() - clock

    def _test_epoch(self, callbacks: RunCallbacks) -> None:
        snapshot = self._metrics.of_epoch(self._processes)
        test = self.evaluate(lambda: callbacks.poll(self, in_test=True))
        self.last_test = test
        self.correct.append(test.correct)
        metrics = {
            "train/loss": snapshot.loss,
            "train/accuracy": percent(snapshot.correct, snapshot.images),
            "train/epoch_lr": learning_rate(self.recipe, self.epoch),
            "test/loss": test.loss,
            "test/accuracy_last": percent(test.correct, test.n),
            "test/accuracy_best": percent(max(self.correct), test.n),
            "test/accuracy_top5": percent(test.correct_top5, test.n),
        }
        if test.corrupt:
            metrics["data/corrupt_files"] = float(test.corrupt)
        self.epoch, self.step = self.epoch + 1, 0
        metrics["perf/images_per_second"] = self.images_trained / self.seconds
        callbacks.report_corrupt_files(self.train.corrupt_files | self.test.corrupt_files)
        callbacks.log("epoch", self.epoch, metrics)

    def _require_finite(self, snapshot: Snapshot) -> Snapshot:
        if snapshot.first_bad_step is not None:
            self._diverged(snapshot.first_bad_step)
        return snapshot

    def _diverged(self, step: int) -> None:
        epoch = step // self.train.steps
        rate = learning_rate(self.recipe, epoch)
        raise DivergedError(f"the loss is not finite at step {step + 1} (epoch {epoch + 1}, learning rate {rate:g})")


def all_finite(tensors: Any) -> bool:
    """Whether every floating-point tensor holds finite numbers only."""
    checks: list[Tensor] = [torch.isfinite(t).all() for t in tensors if t.is_floating_point()]
    return bool(torch.stack(checks).all()) if checks else True


def _running_statistics(network: nn.Module) -> list[Tensor]:
    """The buffers that differ between processes: floating-point ones, BatchNorm's means and variances."""
    return [buffer for buffer in network.buffers() if buffer.is_floating_point()]


def _flattened(tensors: list[Tensor], device: torch.device) -> Tensor:
    """All numbers of the tensors in one vector, so that one collective carries them."""
    return torch.cat([tensor.detach().flatten() for tensor in tensors]) if tensors else torch.empty(0, device=device)


def _unflatten(vector: Tensor, tensors: list[Tensor]) -> None:
    """Write the numbers of a vector, as `_flattened` made it, back into the tensors."""
    parts = vector.split([tensor.numel() for tensor in tensors])
    for tensor, part in zip(tensors, parts, strict=True):
        tensor.copy_(part.view_as(tensor))
