"""Measured evidence: models trained and tested, one run a seed, all seeds of one identity in one record."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from mgnet_leaderboard.records.known import OF_THE_DATA
from mgnet_records.canonical import content_id
from mgnet_records.fields import (
    Argument,
    ArgumentName,
    Commit,
    ContentId,
    Count,
    Epochs,
    HttpsLink,
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
from mgnet_records.run_result import (
    CorrectCounts,
    DatasetPart,
    Environment,
    Execution,
    RecipePart,
    RunResult,
    fault_of_counts,
    fault_of_dataset,
    fault_of_recipe,
    fault_of_times,
    percent,
)

Contributor = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9](?:[A-Za-z0-9-]{0,38})$")]
# Seeds of one identity, in one record.
MOST_RUNS = 1_000
Percent = Annotated[float, Field(ge=0, le=100)]
# Everything that must be equal for two seeds to be comparable.
IDENTITY = ("model", "model_args", "dataset", "recipe", "execution", "epochs", "commit", "dirty", "environment", "contributor")


class SeedRun(Part):
    """One finished run of one seed: how many test images were correct, and what it took. Counts as in `CorrectCounts`."""

    seed: Seed
    run_id: RunId
    correct_last: Count
    correct_best: Count
    correct_top5: Count | None = None
    train_seconds: Seconds
    images_per_second: Rate
    started: Instant
    finished: Instant
    checkpoint_sha256: Sha256


class SeedSummary(Part):
    """What the runs amount to, in percent; computed again whenever a record is read. Top-5 where every run has it."""

    seeds: Positive
    accuracy_last_mean: Percent
    accuracy_last_sd: Percent | None
    accuracy_best_mean: Percent
    accuracy_top5_mean: Percent | None = None
    images_per_second_median: Rate


class Measured(Part):
    """All runs of one model on one data set under one recipe, execution, commit and environment.

    `recipe` is what was trained, `execution` how it was computed; both are part of the identity that gives the id.
    """

    schema_version: Literal[2]
    kind: Literal["measured"]
    id: ContentId
    model: Slug
    notation: Line | None
    model_args: Annotated[dict[ArgumentName, Argument], Field(max_length=100)]
    parameters: Positive
    dataset: DatasetPart
    recipe: RecipePart
    execution: Execution
    epochs: Epochs
    commit: Commit | None
    dirty: bool | None
    environment: Environment
    contributor: Contributor | None
    link: HttpsLink | None
    runs: Annotated[tuple[SeedRun, ...], Field(min_length=1, max_length=MOST_RUNS)]
    summary: SeedSummary

    @property
    def accuracies(self) -> dict[int, float]:
        """Percent after the last epoch, by seed."""
        return {run.seed: percent(run.correct_last, self.dataset.n) for run in self.runs}

    @property
    def variant(self) -> str:
        """The model arguments that are not the data set's, as text; empty for the network as registered."""
        own = {name: value for name, value in self.model_args.items() if name not in OF_THE_DATA}
        return ", ".join(f"{name} {value if isinstance(value, str) else short_json(value)}" for name, value in sorted(own.items()))


def headline_first(records: Iterable[Measured]) -> tuple[Measured, ...]:
    """The records of one model in the order in which every page shows them; the first is the headline.

    The unchanged recipe comes before a changed one, then the plain execution, then what this project measured itself, then
    more seeds, then the id. The accuracy is no part of the rule.
    """
    return tuple(sorted(records, key=_headline_key))


def _headline_key(record: Measured) -> tuple[bool, int, bool, int, str]:
    changed, settings = record.recipe.name.endswith("+"), unusual_settings(record.execution)
    return changed, len(settings), record.contributor is not None, -record.summary.seeds, record.id


def unusual_settings(execution: Execution) -> dict[str, str]:
    """The settings of an execution that are not those of its device; layout and convolution are left to each machine."""
    usual = {"form": "residual", "recompute": "none", "precision": "mixed" if execution.device == "cuda" else "deterministic"}
    values = execution.model_dump()
    return {name: values[name] for name, value in usual.items() if values[name] != value}


def measured_id(record: Measured) -> str:
    """The id that the identity gives."""
    return content_id(record.model_dump(mode="json", include=set(IDENTITY)))


def summarize(runs: Iterable[SeedRun], n: int) -> SeedSummary:
    """The summary of the runs over n test images, rounded to 6 decimals so that its text is the same everywhere."""
    runs = tuple(runs)
    last = [percent(run.correct_last, n) for run in runs]
    best = [percent(run.correct_best, n) for run in runs]
    top5 = [percent(run.correct_top5, n) for run in runs if run.correct_top5 is not None]
    return SeedSummary(
        seeds=len(runs),
        accuracy_last_mean=round(statistics.fmean(last), 6),
        accuracy_last_sd=round(statistics.stdev(last), 6) if len(last) > 1 else None,
        accuracy_best_mean=round(statistics.fmean(best), 6),
        accuracy_top5_mean=round(statistics.fmean(top5), 6) if len(top5) == len(runs) else None,
        images_per_second_median=round(statistics.median(run.images_per_second for run in runs), 6),
    )


def seed_run(result: RunResult) -> SeedRun:
    """The part of a result that belongs to its seed alone."""
    return SeedRun(
        seed=result.seed,
        run_id=result.run_id,
        correct_last=result.test.correct_last,
        correct_best=result.test.correct_best,
        correct_top5=result.test.correct_top5,
        train_seconds=result.train_seconds,
        images_per_second=result.images_per_second,
        started=result.started,
        finished=result.finished,
        checkpoint_sha256=result.checkpoint_sha256,
    )


def record_of(result: RunResult, *, contributor: str | None = None, link: str | None = None) -> Measured:
    """The record of one run. Raises pydantic.ValidationError for a contributor or link of another shape."""
    runs = (seed_run(result),)
    record = Measured(
        schema_version=2,
        kind="measured",
        id="0" * 12,
        model=result.model,
        notation=result.notation,
        model_args=result.model_args,
        parameters=result.parameters,
        dataset=result.dataset,
        recipe=result.recipe,
        execution=result.execution,
        epochs=result.epochs,
        commit=result.commit,
        dirty=result.dirty,
        environment=result.environment,
        contributor=contributor,
        link=link,
        runs=runs,
        summary=summarize(runs, result.dataset.n),
    )
    return record.model_copy(update={"id": measured_id(record)})


def merged(records: Iterable[Measured]) -> Measured:
    """Records of one identity as one: the run of each seed that finished first, and the summary of these runs."""
    records = tuple(records)
    runs = first_of_each_seed(run for record in records for run in record.runs)
    return records[0].model_copy(update={"runs": runs, "summary": summarize(runs, records[0].dataset.n)})


def first_of_each_seed(runs: Iterable[SeedRun]) -> tuple[SeedRun, ...]:
    """The run of each seed that finished first, never the best one; sorted by seed."""
    first: dict[int, SeedRun] = {}
    for run in sorted(runs, key=lambda run: (datetime.fromisoformat(run.finished), run.run_id)):
        first.setdefault(run.seed, run)
    return tuple(first[seed] for seed in sorted(first))


def fault_of_measured(record: Measured) -> str | None:
    """What contradicts itself in a record; None when nothing does."""
    seeds = [run.seed for run in record.runs]
    if seeds != sorted(set(seeds)):
        return f"the seeds are {seeds}; each appears once, in rising order"
    run_ids = [run.run_id for run in record.runs]
    if len(set(run_ids)) != len(run_ids):
        return "two seeds name one run"
    if len({run.checkpoint_sha256 for run in record.runs}) != len(record.runs):
        return "two seeds name one checkpoint; one training counts once"
    if (record.commit is None) != (record.dirty is None):
        return f"commit is {record.commit} but dirty is {record.dirty}; both are known or both are null"
    return (
        fault_of_recipe(record.recipe, epochs=record.epochs)
        or fault_of_dataset(record.dataset, record.model_args)
        or _fault_of_runs(record)
        or _fault_of_derived(record)
    )


def _fault_of_runs(record: Measured) -> str | None:
    for run in record.runs:
        counts = CorrectCounts(
            n=record.dataset.n, correct_last=run.correct_last, correct_best=run.correct_best, correct_top5=run.correct_top5
        )
        fault = fault_of_counts(counts) or fault_of_times(run, dataset=record.dataset.name, epochs=record.epochs)
        if fault:
            return f"seed {run.seed}: {fault}"
    return None


def _fault_of_derived(record: Measured) -> str | None:
    if record.id != measured_id(record):
        return f"the id is {record.id} but the content gives {measured_id(record)}; ingest the run again"
    if record.summary != summarize(record.runs, record.dataset.n):
        return "the summary is not what the runs give; ingest the runs again"
    return None


def short_json(value: object) -> str:
    """A JSON value on one line, for a reader."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False)
