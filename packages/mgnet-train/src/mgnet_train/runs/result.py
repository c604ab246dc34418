"""What a finished run proves, as result.json holds it. Every accuracy anywhere is `percent` of these integers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from mgnet_train.atomic import write_json

RESULT = "result.json"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class DatasetPart(_Part):
    """The data whose images were counted: digest of what was read, and the split that was tested."""

    name: str
    split: str
    n: int
    sha256: str


class RecipePart(_Part):
    """The resolved recipe."""

    name: str
    sha256: str
    values: dict[str, Any]


class TestPart(_Part):
    """Right answers among n test images, after the last epoch and at the best one (which looks at the test set)."""

    n: int
    correct_last: int
    correct_best: int


class Result(_Part):
    """One finished run. `mlflow_run_id` is None until the tracker has the run."""

    schema_version: Literal[1] = 1
    kind: Literal["run"] = "run"
    mlflow_run_id: str | None
    model: str
    notation: str | None
    model_args: dict[str, Any]
    parameters: int
    dataset: DatasetPart
    recipe: RecipePart
    seed: int
    epochs: int
    commit: str | None
    dirty: bool
    environment: dict[str, Any]
    test: TestPart
    train_seconds: float
    images_per_second: float
    started: str
    finished: str
    checkpoint_sha256: str

    @property
    def accuracy_last(self) -> float:
        """Percent after the last epoch, the headline."""
        return percent(self.test.correct_last, self.test.n)

    @property
    def accuracy_best(self) -> float:
        """Percent at the best epoch on the test set."""
        return percent(self.test.correct_best, self.test.n)

    def write(self, folder: Path) -> None:
        """Write result.json, complete or not at all."""
        write_json(folder / RESULT, self.model_dump(mode="json"))


def read_result(folder: Path) -> Result | None:
    """The result of a run folder; None when the run has not finished."""
    try:
        return Result.model_validate(json.loads((folder / RESULT).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None


def percent(correct: int, n: int) -> float:
    """Accuracy in percent."""
    return 100 * correct / n
