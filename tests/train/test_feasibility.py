"""What would end a training at its last batch is known before the first step, and nothing is left behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mgnet_records.errors import InputError
from mgnet_train import Execution, Options, RunSpec, fit
from mgnet_train.cli.main import main
from mgnet_train.config.recipe import Recipe
from mgnet_train.config.recipes import find_recipe
from mgnet_train.data.dataset import ResidentDataset, Split
from mgnet_train.data.digits import read_digits
from mgnet_train.data.resident import ResidentTrainLoader
from mgnet_train.train.distributed import Processes
from mgnet_train.train.feasibility import require_trainable
from mgnet_train.train.precision import Executor
from mgnet_train.train.step import _micro_batches

# Four grids of digits end at one pixel; 1,437 = 359 * 4 + 1.
ONE_PIXEL = "MgNet[1,1,1,1]-[4]-B^l"
CPU = torch.device("cpu")
EXECUTOR = Executor(Execution().resolved("cpu"), CPU)


def _recipe(**overrides: object) -> Recipe:
    return find_recipe("digits", dataset="digits", model="x").with_overrides({k: str(v) for k, v in overrides.items()})


def _digits(images: int, *, test: int = 20, classes: int = 10) -> ResidentDataset:
    def split(n: int) -> Split:
        return Split(images=torch.zeros(n, 1, 8, 8, dtype=torch.uint8), labels=torch.arange(n) % classes)

    return ResidentDataset(name="digits", train=split(images), test=split(test))


class _Normalized(torch.nn.Module):
    """One BatchNorm over grids of one pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = torch.nn.BatchNorm2d(1)
        self.head = torch.nn.Linear(1, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.norm(images.mean((2, 3), keepdim=True)).flatten(1))
        return logits


def _is_refused(images: int, recipe: Recipe, processes: int) -> bool:
    try:
        require_trainable(_Normalized(), recipe, _digits(images), executor=EXECUTOR, processes=processes)
    except InputError:
        return True
    return False


@given(images=st.integers(8, 60), batch_size=st.integers(2, 60), accumulate=st.integers(1, 4), world=st.integers(1, 3))
def test_a_training_is_refused_exactly_when_one_of_its_steps_would_fail(
    images: int, batch_size: int, accumulate: int, world: int
) -> None:
    """The loaders and the division into micro-batches say which parts there are."""
    batch_size = max(batch_size, 2 * accumulate)
    if batch_size > images:
        return
    recipe, data = _recipe(batch_size=batch_size, accumulate=accumulate), _digits(images)
    parts = {
        len(part.labels)
        for rank in range(world)
        for batch in ResidentTrainLoader(data, recipe, seed=0, processes=Processes(rank=rank, world=world, device=CPU)).epoch(
            0, first_step=0
        )
        for part in _micro_batches(batch, accumulate)
    }
    assert _is_refused(images, recipe, world) == (1 in parts)


@given(images=st.integers(8, 60), batch_size=st.integers(2, 60), world=st.integers(1, 3))
def test_the_batch_size_that_is_advised_works(images: int, batch_size: int, world: int) -> None:
    if batch_size > images:
        return
    try:
        require_trainable(_Normalized(), _recipe(batch_size=batch_size), _digits(images), executor=EXECUTOR, processes=world)
    except InputError as error:
        advised = int(str(error).rpartition(" ")[2])
        assert not _is_refused(images, _recipe(batch_size=advised), world)


def test_a_last_batch_of_one_image_is_refused_before_the_first_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["fit", ONE_PIXEL, "--batch-size", "4", "--epochs", "1", "--runs", str(tmp_path / "runs"), "--track", "later"]
    assert main(words) == 2
    printed = capsys.readouterr()
    assert "batch_size=4 leaves 1 of the 1437 training images in a step" in printed.err
    assert printed.err.strip().endswith("use --batch-size 5")
    assert not list((tmp_path / "runs").glob("*"))


def test_grids_of_more_than_one_pixel_take_a_batch_of_one_image(
    tiny_spec: Callable[..., RunSpec], quietly: Options, one_process: Processes
) -> None:
    assert fit(tiny_spec(epochs="1", batch_size="718"), quietly, one_process).result.epochs == 1  # 718, 718 and 1


@pytest.mark.parametrize(
    ("data", "overrides", "message"),
    [
        pytest.param(_digits(20), {"batch_size": 21}, "batch_size=21 is more than the 20 training images", id="large-batch"),
        pytest.param(_digits(0), {}, "digits has no training images", id="no-training-images"),
        pytest.param(_digits(100, test=0), {}, "digits has no test images", id="no-test-images"),
        pytest.param(_digits(100, classes=11), {}, "labels from 0 to 10 for 10 classes", id="foreign-label"),
    ],
)
def test_data_that_cannot_be_trained_on_are_refused(data: ResidentDataset, overrides: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        require_trainable(_Normalized(), _recipe(**overrides), data, executor=EXECUTOR, processes=1)


@pytest.mark.parametrize("args", [{"global_pool": ""}, {"nu": 3}])
def test_an_argument_that_changes_the_output_is_refused(
    tiny_spec: Callable[..., RunSpec], quietly: Options, one_process: Processes, args: dict[str, object]
) -> None:
    spec = tiny_spec(model="resnet10t")
    spec = replace(spec, network=replace(spec.network, args=spec.network.args | args))
    with pytest.raises(InputError, match=r"not logits|does not take|cannot be trained"):
        fit(spec, quietly, one_process)
    assert not list(quietly.runs.glob("*"))


def test_no_epochs_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--epochs", "0", "--runs", str(tmp_path)]) == 2
    assert "recipe field epochs='0'" in capsys.readouterr().err


def test_one_image_for_a_process_is_refused_on_all_of_them(
    tiny_spec: Callable[..., RunSpec], quietly: Options, ranks: Callable[[RunSpec, Options], list[object]]
) -> None:
    """1,437 = 3 * 478 + 3, and a third image is alone on the second process."""
    quietly.runs.mkdir()
    members = ranks(tiny_spec(model=ONE_PIXEL, batch_size="478"), quietly)
    assert [member.wait() for member in members] == [2, 2]  # type: ignore[attr-defined]
    assert not list(quietly.runs.iterdir())


def test_what_a_network_draws_in_a_step_does_not_depend_on_where_a_run_was_stopped(
    tiny_spec: Callable[..., RunSpec],
    quietly: Options,
    one_process: Processes,
    tmp_path: Path,
    final_state: Callable[[Path], object],
) -> None:
    """Dropout draws from PyTorch's generator, which no checkpoint holds."""
    spec = tiny_spec(batch_size="400")
    spec = replace(spec, network=replace(spec.network, args=spec.network.args | {"drop_rate": 0.5}))
    whole = fit(spec, replace(quietly, runs=tmp_path / "whole", log_every=1), one_process)
    folder = fit(spec, replace(quietly, log_every=1, checkpoint_seconds=0.0), one_process).folder
    for name in ("result.json", "last.ckpt"):
        (folder / name).unlink()  # so that it goes on from the checkpoint before the last
    torch.rand(7)
    fit(spec, replace(quietly, log_every=1), one_process)
    assert final_state(folder) == final_state(whole.folder)
    assert (
        json.loads((folder / "result.json").read_text())["test"] == json.loads((whole.folder / "result.json").read_text())["test"]
    )


def test_the_digits_have_an_image_left_over_for_batches_of_four() -> None:
    assert len(read_digits().train) % 4 == 1
