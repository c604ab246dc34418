"""result.json of a finished run, as mgnet-train writes it, and the record a set of them makes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field, JsonValue, TypeAdapter

from mgnet_leaderboard.record import Commit, Count, Instant, Line, MlflowRunId, Part, Positive, Sha256, Slug
from mgnet_leaderboard.records.measured import (
    Environment,
    Measured,
    Recipe,
    Run,
    TestData,
    first_of_each_seed,
    measured_id,
    summarise,
)


class TestCounts(Part):
    """Correct test images after the last epoch, and at the epoch that was best on the test set."""

    n: Positive
    correct_last: Count
    correct_best: Count


class RunResult(Part):
    """What one finished run says of itself."""

    schema_version: Literal[1]
    kind: Literal["run"]
    mlflow_run_id: MlflowRunId
    model: Slug
    notation: Line | None
    model_args: dict[Slug, JsonValue]
    parameters: Positive
    dataset: TestData
    recipe: Recipe
    seed: Count
    epochs: Positive
    commit: Commit | None
    dirty: bool
    environment: Environment
    test: TestCounts
    train_seconds: Annotated[float, Field(ge=0)]
    images_per_second: Annotated[float, Field(ge=0)]
    started: Instant
    finished: Instant
    checkpoint_sha256: Sha256


RUN_RESULT = TypeAdapter(RunResult)


def run_of(result: RunResult) -> Run:
    """The part of a result that belongs to its seed alone."""
    return Run(
        seed=result.seed,
        mlflow_run_id=result.mlflow_run_id,
        correct_last=result.test.correct_last,
        correct_best=result.test.correct_best,
        train_seconds=result.train_seconds,
        images_per_second=result.images_per_second,
        started=result.started,
        finished=result.finished,
        checkpoint_sha256=result.checkpoint_sha256,
    )


def single_run_record(result: RunResult, *, contributor: str | None = None, link: str | None = None) -> Measured:
    """The record of one run."""
    runs = (run_of(result),)
    record = Measured(
        schema_version=1,
        kind="measured",
        id="0" * 12,
        model=result.model,
        notation=result.notation,
        model_args=result.model_args,
        parameters=result.parameters,
        dataset=result.dataset,
        recipe=result.recipe,
        epochs=result.epochs,
        commit=result.commit,
        dirty=result.dirty,
        environment=result.environment,
        contributor=contributor,
        link=link,
        runs=runs,
        summary=summarise(runs, result.dataset.n),
    )
    return record.model_copy(update={"id": measured_id(record)})


def merged(records: Iterable[Measured]) -> Measured:
    """Records of one identity as one: the first finished run of each seed, the summary anew."""
    records = tuple(records)
    runs = first_of_each_seed(run for record in records for run in record.runs)
    return records[0].model_copy(update={"runs": runs, "summary": summarise(runs, records[0].dataset.n)})
