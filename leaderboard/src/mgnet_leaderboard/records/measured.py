"""Measured evidence: models trained and tested, one run a seed, all seeds of one identity in one record."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, StringConstraints

from mgnet_leaderboard.accuracy import percent
from mgnet_leaderboard.datasets import not_the_full_set
from mgnet_leaderboard.record import (
    Commit,
    Count,
    HttpsLink,
    Instant,
    Line,
    MlflowRunId,
    Part,
    Positive,
    RecordId,
    Sha256,
    Slug,
    content_id,
)

Contributor = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9](?:[A-Za-z0-9-]{0,38})$")]
IDENTITY = ("model", "model_args", "dataset", "recipe", "epochs", "commit", "dirty", "environment", "contributor")


class TestData(Part):
    """The images the accuracy is of."""

    name: Slug
    split: Slug
    n: Positive
    sha256: Sha256


# A recipe with some fields set anew carries a plus; its name is shown, and is no part of a file name or URL.
RecipeName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+(?:[.-][a-z0-9]+)*\+?$", max_length=96)]


class Recipe(Part):
    """Every choice of the training, and the digest that names them."""

    name: RecipeName
    sha256: Sha256
    values: dict[Line, JsonValue]


class Environment(Part):
    """Software and hardware of a run."""

    python: Line
    torch: Line
    timm: Line
    cuda: Line | None
    device: Line
    cpu: Line | None
    os: Line
    threads: Positive


class Run(Part):
    """One finished run of one seed: how many images were right, and what it took."""

    seed: Count
    mlflow_run_id: MlflowRunId
    correct_last: Count
    correct_best: Count
    train_seconds: Annotated[float, Field(ge=0)]
    images_per_second: Annotated[float, Field(ge=0)]
    started: Instant
    finished: Instant
    checkpoint_sha256: Sha256


class Summary(Part):
    """What the runs amount to, in percent; always recomputed when a record is read."""

    seeds: Positive
    accuracy_last_mean: float
    accuracy_last_sd: float | None
    accuracy_best_mean: float
    images_per_second_median: float


class Measured(Part):
    """All runs of one model on one data set under one recipe, commit and environment."""

    schema_version: Literal[1]
    kind: Literal["measured"]
    id: RecordId
    model: Slug
    notation: Line | None
    model_args: dict[Slug, JsonValue]
    parameters: Positive
    dataset: TestData
    recipe: Recipe
    epochs: Positive
    commit: Commit | None
    dirty: bool
    environment: Environment
    contributor: Contributor | None
    link: HttpsLink | None
    runs: Annotated[tuple[Run, ...], Field(min_length=1)]
    summary: Summary


def measured_id(record: Measured) -> str:
    """The id that the identity gives: everything that must be equal for two seeds to be comparable."""
    return content_id(record.model_dump(mode="json", include=set(IDENTITY)))


def summarise(runs: Iterable[Run], n: int) -> Summary:
    """The summary of the runs over n test images, rounded to 6 decimals so that its text is the same everywhere."""
    runs = tuple(runs)
    last = [percent(run.correct_last, n) for run in runs]
    best = [percent(run.correct_best, n) for run in runs]
    return Summary(
        seeds=len(runs),
        accuracy_last_mean=round(statistics.fmean(last), 6),
        accuracy_last_sd=round(statistics.stdev(last), 6) if len(last) > 1 else None,
        accuracy_best_mean=round(statistics.fmean(best), 6),
        images_per_second_median=round(statistics.median(run.images_per_second for run in runs), 6),
    )


def first_of_each_seed(runs: Iterable[Run]) -> tuple[Run, ...]:
    """The run of each seed that finished first, never the best one; sorted by seed."""
    first: dict[int, Run] = {}
    for run in sorted(runs, key=lambda run: (datetime.fromisoformat(run.finished), run.mlflow_run_id)):
        first.setdefault(run.seed, run)
    return tuple(first[seed] for seed in sorted(first))


def fault_of_measured(record: Measured) -> str | None:
    """What contradicts itself in a record; None when nothing does."""
    seeds = [run.seed for run in record.runs]
    if seeds != sorted(set(seeds)):
        return f"the seeds are {seeds}; each stands once, in rising order"
    run_ids = [run.mlflow_run_id for run in record.runs]
    if len(set(run_ids)) != len(run_ids):
        return "two seeds name one MLflow run"
    return _fault_of_counts(record) or _fault_of_data(record) or _fault_of_derived(record)


def _fault_of_counts(record: Measured) -> str | None:
    n = record.dataset.n
    for run in record.runs:
        if run.correct_last > n or run.correct_best > n:
            return f"seed {run.seed} has more correct images than the {n} of the test set"
        if run.correct_best < run.correct_last:
            return f"seed {run.seed}: the best epoch ({run.correct_best}) is worse than the last ({run.correct_last})"
        if datetime.fromisoformat(run.finished) < datetime.fromisoformat(run.started):
            return f"seed {run.seed} finished before it started"
    return None


def _fault_of_data(record: Measured) -> str | None:
    classes: Any = record.model_args.get("num_classes")
    if classes is not None and (isinstance(classes, bool) or not isinstance(classes, int)):
        return f"model_args.num_classes is {classes!r}, not a whole number"
    return not_the_full_set(record.dataset.name, n=record.dataset.n, classes=classes)


def _fault_of_derived(record: Measured) -> str | None:
    if record.id != measured_id(record):
        return f"the id is {record.id} but the content gives {measured_id(record)}; export the run again"
    if record.summary != summarise(record.runs, record.dataset.n):
        return "the summary is not what the runs give; export the runs again"
    return None
