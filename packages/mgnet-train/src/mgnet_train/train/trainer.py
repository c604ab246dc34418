"""The state of a training and its course: epochs of steps, each followed by a test. All files are the keeper's business.

The position is (epoch, step). A state saved at any step continues to the same bits, because the order and augmentation of
the images depend on the seed and the epoch only, and everything else that changes is in the state.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from mgnet_train.config.network import executed_form, keep_for_backward
from mgnet_train.config.recipe import Recipe
from mgnet_train.data.resident import Batch
from mgnet_train.errors import DivergedError
from mgnet_train.runs.result import percent
from mgnet_train.schedule import learning_rate
from mgnet_train.train.distributed import Processes
from mgnet_train.train.metrics import Reading, Totals
from mgnet_train.train.optim import make_average, make_optimiser
from mgnet_train.train.precision import Arithmetic
from mgnet_train.train.step import Evaluation, TestImages, evaluate, train_step


class TrainingImages(Protocol):
    """The training images in batches; `images` in all, `steps` an epoch."""

    images: int
    steps: int

    def epoch(self, epoch: int, *, first_step: int) -> Iterator[Batch]: ...


class Keeper(Protocol):
    """What a training tells the outside. `poll` and `save` may raise to end the training."""

    def log(self, kind: str, step: int, metrics: dict[str, float]) -> None: ...
    def poll(self, training: Training, *, in_test: bool) -> None: ...
    def save(self, training: Training) -> None: ...
    def advanced(self, images: int, epoch: int) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Course:
    """What a training needs beside its network."""

    recipe: Recipe
    train: TrainingImages
    test: TestImages
    classes: int
    processes: Processes
    log_every: int


class Training:
    """One network on its way through the recipe."""

    def __init__(self, network: nn.Module, course: Course) -> None:
        self._course = course
        recipe, processes = course.recipe, course.processes
        self.arithmetic = Arithmetic(recipe, processes.device)
        self.network = self.arithmetic.place(network)
        keep_for_backward(self.network, recipe.memory)
        form = executed_form(self.network, recipe.form)
        self.arithmetic.speed_up(form)
        self._replica = processes.wrap(form, sync_batchnorm=recipe.batchnorm == "sync")
        self._optimiser = make_optimiser(self.network, recipe)
        self._average = make_average(self.network, recipe)
        self._totals = Totals(processes.device)
        self.epoch, self.step = 0, 0
        self.correct: list[int] = []
        self.seconds = 0.0
        self.last_test: Evaluation | None = None

    @property
    def global_step(self) -> int:
        """Updates done so far."""
        return self.epoch * self._course.train.steps + self.step

    @property
    def images_trained(self) -> int:
        """Training images seen so far, whole epochs only."""
        return self._course.train.images * self.epoch

    @property
    def tested_network(self) -> nn.Module:
        """The network whose accuracy counts: the averaged one where the recipe has one."""
        return self.network if self._average is None else self._average.module

    def run(self, keeper: Keeper) -> None:
        """Train to the end of the recipe, from wherever the state is."""
        self._replica.train()
        while self.epoch < self._course.recipe.epochs:
            if self.step < self._course.train.steps:
                self._train_epoch(keeper)
                keeper.save(self)
            self._test_epoch(keeper)
        keeper.save(self)

    def state_dict(self) -> dict[str, Any]:
        """Everything that the rest of the training depends on. Raises DivergedError when it holds a number that is not finite."""
        self._course.processes.average_buffers(self.network)
        state = {
            "network": self.network.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "average": None if self._average is None else self._average.state_dict(),
            "totals": self._totals.state_dict(),
            "epoch": self.epoch,
            "step": self.step,
            "correct": list(self.correct),
            "seconds": self.seconds,
        }
        if not all_finite(self.network.state_dict().values()):
            self._diverged(self.global_step - 1)
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        self.network.load_state_dict(state["network"])
        self._optimiser.load_state_dict(state["optimiser"])
        if self._average is not None:
            self._average.load_state_dict(state["average"])
        self._totals.load_state_dict(state["totals"])
        self.epoch, self.step = state["epoch"], state["step"]
        self.correct, self.seconds = list(state["correct"]), state["seconds"]

    def evaluate(self, between_batches: Callable[[], None]) -> Evaluation:
        """Test the network as it is."""
        self._course.processes.average_buffers(self.network)
        tested = executed_form(self.tested_network, self._course.recipe.form)
        return evaluate(
            tested,
            self._course.test,
            classes=self._course.classes,
            arithmetic=self.arithmetic,
            processes=self._course.processes,
            between_batches=between_batches,
        )

    def _train_epoch(self, keeper: Keeper) -> None:
        course, recipe = self._course, self._course.recipe
        rate = learning_rate(recipe, self.epoch)
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        if self.step == 0:
            self._totals.begin_epoch()
        clock = time.perf_counter()
        for batch in course.train.epoch(self.epoch, first_step=self.step):
            train_step(
                self._replica,
                self._optimiser,
                batch,
                recipe,
                arithmetic=self.arithmetic,
                processes=course.processes,
                totals=self._totals,
                step=self.global_step,
            )
            if self._average is not None:
                self._average.update_parameters(self.network)
            self.step += 1
            keeper.advanced(batch.of_step, self.epoch)
            if self.global_step % course.log_every == 0:
                reading = self._finite(self._totals.since_mark(course.processes))
                keeper.log("step", self.global_step, {"train/step_loss": reading.loss, "train/lr": rate})
            now = time.perf_counter()
            self.seconds, clock = self.seconds + now - clock, now
            keeper.poll(self, in_test=False)
            clock = time.perf_counter()
        self._finite(self._totals.of_epoch(course.processes))  # waits for the device, so that the time is whole
        self.seconds += time.perf_counter() - clock

    def _test_epoch(self, keeper: Keeper) -> None:
        course = self._course
        reading = self._totals.of_epoch(course.processes)
        test = self.evaluate(lambda: keeper.poll(self, in_test=True))
        self.last_test = test
        self.correct.append(test.correct)
        metrics = {
            "train/loss": reading.loss,
            "train/accuracy": percent(reading.correct, reading.images),
            "train/epoch_lr": learning_rate(course.recipe, self.epoch),
            "test/loss": test.loss,
            "test/accuracy_last": percent(test.correct, test.n),
            "test/accuracy_best": percent(max(self.correct), test.n),
            "data/unreadable": float(test.unreadable),
        }
        self.epoch, self.step = self.epoch + 1, 0
        metrics["perf/images_per_second"] = self.images_trained / self.seconds
        keeper.log("epoch", self.epoch, metrics)

    def _finite(self, reading: Reading) -> Reading:
        if reading.first_bad_step is not None:
            self._diverged(reading.first_bad_step)
        return reading

    def _diverged(self, step: int) -> None:
        steps = self._course.train.steps
        rate = learning_rate(self._course.recipe, step // steps)
        raise DivergedError(f"the loss is not finite at step {step + 1} (epoch {step // steps + 1}, learning rate {rate:g})")


def all_finite(tensors: Any) -> bool:
    """Whether every floating-point tensor holds finite numbers only."""
    checks: list[Tensor] = [torch.isfinite(t).all() for t in tensors if t.is_floating_point()]
    return bool(torch.stack(checks).all()) if checks else True
