"""`evaluate` finds the data set of a run, and says so where it cannot know it."""

from __future__ import annotations

import gzip
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import mgnet_models
from mgnet_records.datasets import DATA_SETS
from mgnet_records.provenance import UNKNOWN
from mgnet_train import Options, RunSpec, fit, make_spec
from mgnet_train.cli.main import main
from mgnet_train.train.distributed import Processes


@pytest.fixture
def run(tiny_spec: Callable[..., RunSpec], quietly: Options, one_process: Processes) -> Path:
    return fit(tiny_spec(epochs="1"), quietly, one_process).folder


def _evaluate(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    code = main(["evaluate", *words, "--device", "cpu"])
    printed = capsys.readouterr()
    assert len([line for line in printed.err.splitlines() if not line.startswith("note: ")]) == (code != 0)
    return code, printed.out + printed.err


def _write_mnist(folder: Path) -> None:
    """28x28 images of noise in MNIST's own format."""
    folder.mkdir(parents=True)
    draw = np.random.default_rng(0)
    for prefix, count in (("train", 60), ("t10k", 20)):
        images, labels = draw.integers(0, 256, (count, 28, 28), np.uint8), (np.arange(count) % 10).astype(np.uint8)
        head = struct.pack(">IIII", 0x803, count, 28, 28)
        (folder / f"{prefix}-images-idx3-ubyte.gz").write_bytes(gzip.compress(head + images.tobytes()))
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 0x801, count) + labels.tobytes())


def test_a_run_of_another_data_set_is_tested_on_its_own(
    quietly: Options, one_process: Processes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The networks of MNIST and digits take each other's images."""
    _write_mnist(tmp_path / "data" / "mnist")
    overrides = {"epochs": "1", "batch_size": "30"}
    spec = make_spec("MgNet[1,1]-[4]-B^l", dataset="mnist", overrides=overrides, code=UNKNOWN)
    options = Options(runs=quietly.runs, data_dir=tmp_path / "data", track="later", quiet=True)
    outcome = fit(spec, options, one_process)
    for given in (outcome.folder, outcome.folder / "model.safetensors"):
        code, printed = _evaluate(capsys, str(given), "--data-dir", str(tmp_path / "data"))
        assert (code, f"on mnist: {outcome.result.accuracy_last:.2f} %" in printed) == (0, True)
    assert _evaluate(capsys, str(outcome.folder), "--data", "digits")[0] == 0


@pytest.mark.parametrize("command", ["evaluate", "landscape"])
def test_weights_outside_of_a_run_folder_need_a_data_set(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    moved = shutil.copyfile(run / "model.safetensors", tmp_path / "moved.safetensors")
    assert main([command, str(moved)]) == 2
    assert "moved.safetensors is in no run folder, so its data set is not known: name it with --data" in capsys.readouterr().err
    if command == "evaluate":
        assert _evaluate(capsys, str(moved), "--data", "digits")[0] == 0


def test_a_link_to_the_weights_of_a_run_finds_its_data_set(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "best.safetensors").symlink_to(run / "model.safetensors")
    assert _evaluate(capsys, str(tmp_path / "best.safetensors"))[0] == 0


def test_weights_that_are_not_the_runs_own_need_a_data_set(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = mgnet_models.load_checkpoint(run / "model.safetensors")
    name, args = (
        mgnet_models.read_description(run / "model.safetensors")
        if hasattr(mgnet_models, "read_description")
        else (
            "mgnet",
            {"notation": "MgNet[1,1]-[4]-B^l", "in_chans": 1, "num_classes": 10},
        )
    )
    next(model.parameters()).data.zero_()
    mgnet_models.save_checkpoint(model, run / "model.safetensors", model_name=name, model_args=args)
    code, printed = _evaluate(capsys, str(run))
    assert code == 2
    assert "is not what the run in" in printed


@pytest.mark.parametrize("name", ["last.ckpt", "config.json", "journal.jsonl", "nosuch.safetensors"])
def test_a_file_without_weights_is_one_line(run: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    code, printed = _evaluate(capsys, str(run / name))
    assert code == 2
    assert "model.safetensors" in printed or "no checkpoint at" in printed


def test_a_stopped_run_has_no_weights_to_test(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "model.safetensors").unlink()
    code, printed = _evaluate(capsys, str(run))
    assert (code, "has no model.safetensors: give a finished run" in printed) == (2, True)


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100", "mnist"])
def test_a_network_and_data_that_do_not_fit_are_one_line(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, dataset: str
) -> None:
    from mgnet_train.train import evaluation

    info = DATA_SETS[dataset]

    class Blank:
        name, size = dataset, info.input_size[1:]
        test: tuple[object, ...] = ()

    Blank.info = info  # type: ignore[attr-defined]
    monkeypatch.setattr(evaluation, "load_dataset", lambda *_, **__: Blank())
    code, printed = _evaluate(capsys, str(run), "--data", dataset)
    assert code == (66 if dataset == "mnist" else 2)
    assert ("no test images" if dataset == "mnist" else "name its own data set with --data") in printed
