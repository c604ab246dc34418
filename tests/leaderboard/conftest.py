"""Small evidence that the tests build on: a paper of a few rows, a certificate, runs with their results, a demo.

All of it is made with the models of mgnet-records, so that a change of a schema breaks these fixtures and not a user.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mgnet_leaderboard.cli import main
from mgnet_leaderboard.records.known import notation_of, parameters_of
from mgnet_leaderboard.records.measured import Measured, merged, record_of
from mgnet_leaderboard.records.union import path_of, text_of
from mgnet_records.audit import Audit, AuditedRow
from mgnet_records.certificate import Certificate, FormMacs, Macs, ParameterCounts, Property, Target
from mgnet_records.datasets import DATA_SETS
from mgnet_records.demo import Control, DemoGrid, DualityDemo, Image, Step
from mgnet_records.run_result import (
    RUN_RESULT,
    CorrectCounts,
    DatasetPart,
    Environment,
    Execution,
    RecipePart,
    RunResult,
    recipe_sha256,
)
from mgnet_records.table_rows import judge

Json = dict[str, Any]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def digest(text: str, length: int = 64) -> str:
    return (text.encode().hex() * 64)[:length]


# The recipe "digits" as mgnet-train has it.
DIGITS: Json = json.loads("""{
"epochs": 12, "batch_size": 64, "accumulate": 1, "lr": 0.1, "schedule": "steps", "milestones": [7, 10], "drop": 0.1,
"warmup_epochs": 0, "momentum": 0.9, "nesterov": false, "weight_decay": 0.0005, "decay_norm_and_bias": true,
"init": "kaiming", "pad": 1, "flip": false, "crop": "whole", "label_smoothing": 0.0, "mixup": 0.0, "ema_decay": 0.0,
"batchnorm": "averaged"}""")


def recipe_part(name: str = "digits", **values: Any) -> Json:
    """A recipe with the hash that its values give."""
    values = {**DIGITS, **values}
    return RecipePart(name=name, sha256=recipe_sha256(values), values=values).model_dump(mode="json")


def paper_row(row: str, printed: str, accuracy: str, params: str | None, exact: int | None, **more: Any) -> AuditedRow:
    version, table, _, dataset = row.split("/")[:4]
    base = {
        "id": row,
        "version": version,
        "table": int(table.removeprefix("table")),
        "row": 1,
        "dataset": dataset.upper(),
        "model_printed": printed,
        "quoted": False,
        "cites": None,
        "accuracy_printed": accuracy,
        "params_printed": params,
        "exact": exact,
        "verdict": None if params is None or exact is None else judge(params, exact),
        "explanation": None,
    }
    return AuditedRow.model_validate({**base, **more})


@pytest.fixture(scope="session")
def audit() -> Json:
    """Six table rows: two versions, a quoted one, a discrepant count, one within 1 %, one without a count."""
    shared, own = "mgnet_2_2_2_2_c256_bl", "mgnet_2_2_2_2_c256_bli"
    quoted: Json = {"quoted": True, "cites": "[10]", "explanation": "Label and count are of two networks."}
    rows = (
        paper_row("v2/table4/a/cifar100", "MgNet[2,2,2,2]-256-B^l", "79.94", "8.3M", 8_301_924, model=shared),
        paper_row("v2/table10/b/cifar100", "MgNet[2,2,2,2]-[256]-B^{l,i}", "80.12", "10.7M", 10_661_220, model=own),
        paper_row("v2/table4/c/cifar10", "WideResNet28 * 2", "95.83", "36.5M", 1_467_610, model="wrn28_2", **quoted),
        paper_row("v1/table3/d/cifar10", "ResNet18-A^l-B^{l,i}", "93.83", "8.1M", 8_040_522, model="mgresnet18_al_bli"),
        paper_row("v2/table3/d/cifar10", "ResNet18-A^l-B^{l,i}", "94.34", "8.1M", 8_040_522, model="mgresnet18_al_bli"),
        paper_row("v1/table1/e/cifar10", "A^l = A^l*, B^{l,i} = sigma o B^{l,i}*", "92.54", None, None, model="gdfi_lin_post"),
    )
    return Audit(rows=rows).model_dump(mode="json")


@pytest.fixture(scope="session")
def report() -> Json:
    """A passing certificate of the 8.3M model."""
    checked = Property(
        name="duality",
        status="pass",
        statement="f - A u equals r after every step, bit for bit, also where u < 0",
        detail="integer tensors in float64",
        examples=100,
        seed=0,
        largest_gap=0.0,
        bits_used=31.5,
    )
    return Certificate(
        target=Target(model="mgnet_2_2_2_2_c256_bl", checkpoint_sha256=None),
        notation="MgNet[2,2,2,2]-[256]-B^l",
        commit=COMMIT,
        dirty=False,
        versions={"torch": "2.15.0", "mgnet-verify": "0.1.0"},
        kernel_backend=None,
        executions=("feature_form", "residual_form"),
        status="pass",
        properties=(checked,),
        parameters=ParameterCounts(closed_form=8_301_924, torch=8_301_924, fvcore=8_301_924),
        macs=Macs(
            image=(3, 32, 32),
            convention="conv + linear multiply-adds, padded zeros counted",
            residual_form=FormMacs(closed_form=3_602_670_592, fvcore=3_602_670_592),
            feature_form=FormMacs(closed_form=4_603_012_096, fvcore=4_603_012_096),
        ),
        paper=(),
    ).model_dump(mode="json")


@pytest.fixture(scope="session")
def recipe() -> Callable[..., Json]:
    """Make a recipe with the hash that its values give."""
    return recipe_part


@pytest.fixture(scope="session")
def result() -> Callable[..., Json]:
    """result.json of a finished run; keyword arguments replace top-level fields."""

    def make(seed: int = 0, correct: int = 357, *, series: str = "", **changes: Any) -> Json:
        base = RunResult(
            run_id=digest(f"{seed}{series}", 32),
            model="mgnet_2_2_c32_bl",
            notation="MgNet[2,2]-[32]-B^l",
            model_args={"in_chans": 1, "num_classes": 10},
            parameters=56_618,
            dataset=DatasetPart(name="digits", split="test", n=360, sha256=digest("digits")),
            recipe=RecipePart.model_validate(recipe_part()),
            execution=Execution(
                device="cpu",
                precision="deterministic",
                layout="contiguous",
                convolution="direct",
                kernel_backend=None,
                recompute="none",
                form="residual",
                threads=2,
                processes=1,
            ),
            seed=seed,
            epochs=12,
            commit=COMMIT,
            dirty=False,
            environment=Environment(
                python="3.11.2",
                torch="2.15.0",
                timm="1.0.31",
                packages={"mgnet-train": "0.1.0"},
                cuda=None,
                device="cpu",
                cpu="a processor of 2 cores",
                os="Linux",
            ),
            test=CorrectCounts(n=360, correct_last=correct, correct_best=min(360, correct + 1)),
            train_seconds=7.25,
            images_per_second=2378.5,
            started=f"2025-11-21T10:{seed % 60:02d}:00Z",
            finished=f"2025-11-21T10:{seed % 60:02d}:09.5Z",
            checkpoint_sha256=digest(f"{seed}checkpoint{series}"),
        )
        named = {"notation": notation_of(changes["model"])} if "model" in changes else {}
        made = copy.deepcopy({**base.model_dump(mode="json"), **named, **changes})
        if made["dataset"]["name"] in DATA_SETS and "images_per_second" not in changes:
            images = made["epochs"] * DATA_SETS[made["dataset"]["name"]].train_images
            made["images_per_second"] = round(images / made["train_seconds"], 1)
        sizes = {name: made["model_args"].get(name, 1) for name in ("in_chans", "num_classes")}
        counted = parameters_of(made["model"], **sizes)
        return made if counted is None or "parameters" in changes else {**made, "parameters": counted}

    return make


@pytest.fixture(scope="session")
def measured(result: Callable[..., Json]) -> Callable[..., Measured]:
    """A record of several seeds; keyword arguments replace fields of every result."""

    def make(corrects: tuple[int, ...] = (357, 358, 356), *, contributor: str | None = None, **changes: Any) -> Measured:
        results = [result(**{"seed": seed, "correct": correct, **changes}) for seed, correct in enumerate(corrects)]
        return merged(record_of(RUN_RESULT.validate_json(json.dumps(one)), contributor=contributor) for one in results)

    return make


@pytest.fixture(scope="session")
def demo() -> Json:
    """A demo on one 2x2 grid with two states."""
    level = ((0, 127), (-127, 5))
    held = Step(u=level, residual_of_u=level, r=level, gap=1e-15)
    broken = Step(u=level, residual_of_u=level, r=((1, 2), (3, 4)), gap=0.7)
    control = Control(
        statement="Here every iteration has its own A.", grids=(DemoGrid(u_scale=2.0, r_scale=1.0, steps=(held, broken)),)
    )
    return DualityDemo(
        model="mgnet_2_2_c32_bl",
        notation="MgNet[2,2]-[32]-B^l",
        checkpoint_sha256=digest("0checkpoint"),
        commit=COMMIT,
        versions={"torch": "2.15.0"},
        dtype="float64",
        channel=3,
        image=Image(dataset="digits", split="test", index=5, label=3, predicted=3, maximum=16, pixels=((0, 16), (7, 8))),
        grids=(DemoGrid(u_scale=2.0, r_scale=1.0, steps=(held, held)),),
        control=control,
    ).model_dump(mode="json")


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, Any], Path]:
    """Write a JSON value to a file below the temporary folder."""

    def make(name: str, value: Any) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value), encoding="utf-8")
        return path

    return make


@pytest.fixture
def place() -> Callable[..., Path]:
    """Write a record where it belongs in a results folder."""

    def make(folder: Path, record: Any) -> Path:
        path = folder / path_of(record)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text_of(record), encoding="utf-8")
        return path

    return make


@pytest.fixture
def results(
    tmp_path: Path,
    audit: Json,
    report: Json,
    demo: Json,
    write: Callable[[str, Any], Path],
    measured: Callable[..., Measured],
    place: Callable[..., Path],
) -> Path:
    """A results folder with all three kinds of evidence and the demo."""
    folder = tmp_path / "results"
    files = [write("audit.json", audit), write("report.json", report), write("demo.json", demo)]
    assert main(["ingest", *map(str, files), "--records", str(folder)]) == 0
    place(folder, measured())
    return folder


@pytest.fixture
def rejected(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command that must fail with exactly one line on stderr; the line."""

    def make(*arguments: object) -> str:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        err = capsys.readouterr().err
        assert code == 2
        assert err.count("\n") == 1
        assert "Traceback" not in err
        return err

    return make
