"""result.json: what one finished training run says of itself."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

from pydantic import Field, StringConstraints, TypeAdapter

from mgnet_records.canonical import sha256_of
from mgnet_records.datasets import DATA_SETS, not_the_full_set
from mgnet_records.errors import InputError
from mgnet_records.fields import (
    Argument,
    ArgumentName,
    Commit,
    Count,
    Epochs,
    Instant,
    Line,
    Part,
    Positive,
    Rate,
    RunId,
    Seconds,
    Seed,
    Sha256,
    Slug,
)
from mgnet_records.strict_json import read_document

RESULT_FILE = "result.json"

# A recipe of which some fields were changed carries a plus; the name is shown, and is no part of a file name or URL.
RecipeName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+(?:[.-][a-z0-9]+)*\+?$", max_length=96)]


class DatasetPart(Part):
    """The n images that were tested; `sha256` is of the data that were read."""

    name: Slug
    split: Slug
    n: Positive
    sha256: Sha256


class RecipePart(Part):
    """What is trained: every field of the recipe, and their hash (see `recipe_sha256`)."""

    name: RecipeName
    sha256: Sha256
    values: Annotated[dict[ArgumentName, Argument], Field(max_length=100)]


class Execution(Part):
    """How it is computed: recorded, not hashed, since it changes rounding, time and memory, never the experiment.

    `precision` "deterministic" is float32 with deterministic algorithms, "mixed" is bfloat16 autocast. `kernel_backend` is
    the build of mgnet-kernels that ran, None where none did. `recompute` is what the backward pass computes again, `form`
    the iteration that a MgNet executes: of residuals (4.5) or of features (3.5); a network of another family has one form and
    holds the setting as it was. `threads` are of one process, `processes` is the world size.
    """

    device: Literal["cpu", "cuda"]
    precision: Literal["deterministic", "mixed"]
    layout: Literal["channels_last", "contiguous"]
    convolution: Literal["direct", "winograd"]
    kernel_backend: Line | None
    recompute: Literal["none", "selective", "full", "sublinear"]
    form: Literal["residual", "feature"]
    threads: Annotated[int, Field(ge=1, le=100_000)]
    processes: Annotated[int, Field(ge=1, le=1_000_000)]


class Environment(Part):
    """Software and hardware of a run.

    `packages` holds the versions of this project's packages, empty in records older than the field. `device` is the name
    of the GPU, or "cpu".
    """

    python: Line
    torch: Line
    timm: Line
    packages: Annotated[dict[Line, Line], Field(max_length=100)]
    cuda: Line | None
    device: Line
    cpu: Line | None
    os: Line


class CorrectCounts(Part):
    """Correct ones among n test images after the last epoch, and at the best epoch, which looks at the test set.

    `correct_top5` counts images after the last epoch whose class is among the five likeliest; None where that was not counted.
    """

    n: Positive
    correct_last: Count
    correct_best: Count
    correct_top5: Count | None = None


class RunResult(Part):
    """One finished run of one seed. `run_id` is the run's own; a tracker's id is no part of it.

    `parameters` are trainable ones. `commit` and `dirty` are as in `mgnet_records.provenance.CodeState`. `train_seconds`
    is time spent in training steps, over all starts of the run; `images_per_second` counts training images.
    """

    schema_version: Literal[2] = 2
    kind: Literal["run"] = "run"
    run_id: RunId
    model: Slug
    notation: Line | None
    model_args: Annotated[dict[ArgumentName, Argument], Field(max_length=100)]
    parameters: Positive
    dataset: DatasetPart
    recipe: RecipePart
    execution: Execution
    seed: Seed
    epochs: Epochs
    commit: Commit | None
    dirty: bool | None
    environment: Environment
    test: CorrectCounts
    train_seconds: Seconds
    images_per_second: Rate
    started: Instant
    finished: Instant
    checkpoint_sha256: Sha256

    @property
    def accuracy_last(self) -> float:
        """Percent after the last epoch, the headline."""
        return percent(self.test.correct_last, self.test.n)

    @property
    def accuracy_top5(self) -> float | None:
        """Percent whose class is among the five likeliest after the last epoch; None where that was not counted."""
        return None if self.test.correct_top5 is None else percent(self.test.correct_top5, self.test.n)

    @property
    def accuracy_best(self) -> float:
        """Percent at the best epoch on the test set."""
        return percent(self.test.correct_best, self.test.n)


RUN_RESULT: TypeAdapter[RunResult] = TypeAdapter(RunResult)


def new_run_id() -> str:
    """A run id that no other run has."""
    return uuid.uuid4().hex


def percent(correct: int, n: int) -> float:
    """Accuracy in percent; every accuracy of the project is this expression of these integers."""
    return 100 * correct / n


def recipe_sha256(values: Mapping[str, Any]) -> str:
    """SHA-256 over the canonical JSON of a recipe's values without "name": every field that acts, the name does not."""
    return sha256_of({field: value for field, value in values.items() if field != "name"})


def read_run_result(path: Path) -> RunResult:
    """The result in a file. Raises InputError if it cannot be read or contradicts itself."""
    result = read_document(path, RUN_RESULT)
    if fault := fault_of(result):
        raise InputError(f"{path}: {fault}")
    return result


def fault_of(result: RunResult) -> str | None:
    """What contradicts itself in a result; None when nothing does."""
    return (
        fault_of_recipe(result.recipe, epochs=result.epochs)
        or fault_of_dataset(result.dataset, result.model_args)
        or fault_of_counts(result.test)
        or _fault_of_origin(result)
        or fault_of_times(result, dataset=result.dataset.name, epochs=result.epochs)
    )


class Timed(Protocol):
    """What says how long a run took."""

    @property
    def started(self) -> str: ...
    @property
    def finished(self) -> str: ...
    @property
    def train_seconds(self) -> float: ...
    @property
    def images_per_second(self) -> float: ...


def fault_of_times(run: Timed, *, dataset: str, epochs: int) -> str | None:
    """Why times and speed of a run cannot be those of one run of so many epochs; None when they can."""
    wall = (datetime.fromisoformat(run.finished) - datetime.fromisoformat(run.started)).total_seconds()
    if wall < 0:
        return f"finished {run.finished}, before it started ({run.started})"
    # Clocks are set while a run goes on, and times are written in whole seconds.
    if run.train_seconds > 1.01 * wall + 5:
        return f"trained for {run.train_seconds:g} s within the {wall:g} s from {run.started} to {run.finished}"
    data = DATA_SETS.get(dataset)
    if data is None:
        return None
    images = epochs * data.train_images
    # A trainer may leave out the images that fill no batch; the seconds have three decimals, the speed has one.
    slack = 0.02 * images + 0.05 * run.train_seconds + 0.0005 * run.images_per_second + 1
    if abs(run.images_per_second * run.train_seconds - images) > slack:
        return (
            f"{run.images_per_second:g} images/s for {run.train_seconds:g} s are "
            f"{run.images_per_second * run.train_seconds:.0f} images, but {epochs} epochs of {dataset} have {images}"
        )
    return None


def fault_of_recipe(recipe: RecipePart, *, epochs: int) -> str | None:
    """What contradicts itself in a recipe that was run for this many epochs; None when nothing does."""
    expected = recipe_sha256(recipe.values)
    if recipe.sha256 != expected:
        return f"recipe.sha256 is {recipe.sha256[:12]}... but its values give {expected[:12]}..."
    if recipe.values.get("name", recipe.name) != recipe.name:
        return f"the recipe is called {recipe.name!r} and {recipe.values['name']!r}"
    if recipe.values.get("epochs", epochs) != epochs:
        return f"the recipe has {recipe.values['epochs']!r} epochs, the run {epochs}"
    return None


def fault_of_dataset(dataset: DatasetPart, model_args: Mapping[str, Any]) -> str | None:
    """Why the tested images are not the full test set that their name says; None when they are."""
    classes = model_args.get("num_classes")
    if classes is not None and (isinstance(classes, bool) or not isinstance(classes, int)):
        return f"model_args.num_classes is {classes!r}, not a whole number"
    if fault := not_the_full_set(dataset.name, n=dataset.n, classes=classes):
        return fault
    known = DATA_SETS.get(dataset.name)
    if dataset.split == "train" or (known is not None and dataset.split != known.test_split):
        return f"the accuracy is of split {dataset.split!r}; the test split is {known.test_split if known else 'test'!r}"
    return None


def fault_of_counts(test: CorrectCounts) -> str | None:
    """What contradicts itself in the counts of correct images; None when nothing does."""
    if test.correct_best > test.n:
        return f"{test.correct_best} of {test.n} test images are said to be correct"
    if test.correct_best < test.correct_last:
        return f"the best epoch ({test.correct_best} correct) is worse than the last ({test.correct_last})"
    if test.correct_top5 is not None and not test.correct_last <= test.correct_top5 <= test.n:
        return f"{test.correct_top5} of {test.n} images have their class among five answers, {test.correct_last} as the first"
    return None


def _fault_of_origin(result: RunResult) -> str | None:
    if result.test.n != result.dataset.n:
        return f"tested {result.test.n} of {result.dataset.n} images"
    if (result.commit is None) != (result.dirty is None):
        return f"commit is {result.commit} but dirty is {result.dirty}; both are known or both are null"
    return None
