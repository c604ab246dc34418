"""A run trains, resumes and reports: the same numbers everywhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import mgnet_models
from mgnet_models.runtime import convolution as short_convolutions
from mgnet_models.runtime import winograd_in_c
from mgnet_models.runtime.recompute import MemoryMode
from mgnet_models.runtime.winograd import Kernels, convolve
from mgnet_train import Options, RunSpec, fit, load_dataset, make_spec
from mgnet_train.cli.main import main
from mgnet_train.data.augment import Normaliser
from mgnet_train.errors import UserError
from mgnet_train.provenance import current_commit
from mgnet_train.runs.journal import JOURNAL, read_records
from mgnet_train.tracking.client import WEIGHTS, quiet_mlflow
from mgnet_train.train.distributed import Processes

FinalState = Callable[[Path], object]


def test_the_default_reaches_98_percent_on_held_out_digits(one_process: Processes, quietly: Options) -> None:
    spec = make_spec("mgnet_2_2_c32_bl", dataset="digits", recipe=None, overrides={}, seed=0, commit=current_commit(), device="cpu")
    result = fit(spec, quietly, one_process).result
    assert result.accuracy_last >= 98
    assert result.train_seconds < 60
    assert result.parameters == 56_618


@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")  # mlflow's own use of sqlalchemy
def test_printed_logged_and_filed_accuracy_are_one_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = tmp_path / "runs"
    assert main(["fit", "MgNet[1,1]-[4]-B^l", "--epochs", "2", "--batch-size", "256", "--runs", str(runs)]) == 0
    printed = capsys.readouterr().out
    folder = next(path for path in runs.iterdir() if (path / "result.json").exists())
    result = json.loads((folder / "result.json").read_text())
    correct, n = result["test"]["correct_last"], result["test"]["n"]
    assert f"test accuracy {100 * correct / n:.2f} % ({correct} of 360 images" in printed
    assert "MLflow has it" in printed

    quiet_mlflow()
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{runs / 'mlflow.db'}")
    run = client.get_run(result["mlflow_run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.metrics["test/accuracy_last"] == 100 * correct / n
    assert run.data.metrics["test/accuracy_best"] == 100 * result["test"]["correct_best"] / n
    assert run.data.params["recipe.lr"] == "0.1"
    assert run.data.tags["mgnet.recipe_sha256"] == result["recipe"]["sha256"]
    assert run.inputs.dataset_inputs[0].dataset.digest == result["dataset"]["sha256"][:32]
    assert {item.path for item in client.list_artifacts(run.info.run_id)} >= {"result.json", "model.safetensors"}
    assert [m.step for m in client.get_metric_history(run.info.run_id, "test/accuracy_last")] == [1, 2]
    assert run.data.tags["mgnet.resume_exact"] == "true"
    assert run.data.tags["mgnet.exported_model"].startswith("models:/")
    assert [m.step for m in client.get_metric_history(run.info.run_id, "system/cpu_utilization_percentage")] == [1, 2]

    network = mgnet_models.load_checkpoint(folder / "model.safetensors")
    data = load_dataset("digits", tmp_path)
    with torch.no_grad():
        logits = network(Normaliser(data.facts, torch.device("cpu"))(data.test.images))
    assert int(logits.argmax(1).eq(data.test.labels).sum()) == correct


def test_a_finished_run_is_not_trained_again(tiny_spec: Callable[..., RunSpec], quietly: Options, one_process: Processes) -> None:
    first = fit(tiny_spec(), quietly, one_process)
    again = fit(tiny_spec(), quietly, one_process)
    assert (first.was_finished, again.was_finished) == (False, True)
    assert again.result == first.result


def test_another_seed_recipe_or_commit_is_another_run(tiny_spec: Callable[..., RunSpec]) -> None:
    spec = tiny_spec()
    others = [
        tiny_spec(seed=1),
        tiny_spec(lr="0.05"),
        tiny_spec(model="MgNet[1,1]-[5]-B^l"),
        replace(spec, commit=replace(spec.commit, dirty=True)),
        replace(spec, commit=replace(spec.commit, sha="0" * 40)),
    ]
    assert len({spec.folder_name, *(other.folder_name for other in others)}) == 6
    assert tiny_spec().identity == spec.identity


@pytest.mark.parametrize("overrides", [{}, {"accumulate": "4"}, {"mixup": "0.4", "ema_decay": "0.9"}, {"form": "literal"}])
def test_two_runs_of_one_spec_end_with_the_same_bits(
    tiny_spec: Callable[..., RunSpec],
    quietly: Options,
    one_process: Processes,
    tmp_path: Path,
    final_state: FinalState,
    overrides: dict[str, str],
) -> None:
    spec = tiny_spec(**overrides)
    ends = [fit(spec, replace(quietly, runs=tmp_path / name), one_process) for name in ("a", "b")]
    assert final_state(ends[0].folder) == final_state(ends[1].folder)


def test_accumulation_changes_memory_but_hardly_the_first_losses(
    tiny_spec: Callable[..., RunSpec], quietly: Options, one_process: Processes
) -> None:
    """Only the batch statistics differ, so the loss of the first epoch stays close."""
    losses = []
    for parts in ("1", "2"):
        end = fit(tiny_spec(accumulate=parts, epochs="1"), quietly, one_process)
        losses.append(next(r for r in read_records(end.folder / JOURNAL, 0)[0] if r.kind == "epoch").metrics["train/loss"])
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.1)


def test_a_step_does_not_wait_for_the_device(tiny_spec: Callable[..., RunSpec], quietly: Options, one_process: Processes) -> None:
    """Reading a number from the device is aten::_local_scalar_dense; its count must not grow with the steps."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Count(TorchDispatchMode):
        reads = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            self.reads += func is torch.ops.aten._local_scalar_dense.default
            return func(*args, **(kwargs or {}))

    counts = []
    for batch in ("360", "90"):
        with Count() as count:
            fit(tiny_spec(epochs="1", batch_size=batch), replace(quietly, log_every=1000), one_process)
        counts.append(count.reads)
    assert counts[0] == counts[1]


@pytest.mark.parametrize(
    ("overrides", "dtype", "channels_last"),
    [
        ({"precision": "fast"}, torch.bfloat16, True),
        ({}, torch.float32, True),
        ({"layout": "contiguous"}, torch.float32, False),
    ],
)
def test_precision_and_layout_are_those_of_the_recipe_and_named_in_the_log(
    overrides: dict[str, str],
    dtype: torch.dtype,
    channels_last: bool,
    tiny_spec: Callable[..., RunSpec],
    quietly: Options,
    one_process: Processes,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    seen: set[tuple[torch.dtype, torch.dtype]] = set()
    linear = torch.nn.functional.linear

    def watched(images: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        answer = linear(images, weight, bias)
        seen.add((answer.dtype, weight.dtype))
        return answer

    layouts: set[tuple[bool, bool]] = set()
    conv = torch.nn.Conv2d.forward

    def watched_conv(self: torch.nn.Conv2d, images: torch.Tensor) -> torch.Tensor:
        answer = conv(self, images)
        form = torch.channels_last
        if self.in_channels > 1:  # with one channel both layouts are the same
            layouts.add((self.weight.is_contiguous(memory_format=form), answer.is_contiguous(memory_format=form)))
        seen.add((answer.dtype, self.weight.dtype))
        return answer

    monkeypatch.setattr(torch.nn.functional, "linear", watched)
    monkeypatch.setattr(torch.nn.Conv2d, "forward", watched_conv)
    spec = tiny_spec(epochs="1", **overrides)
    values = fit(spec, replace(quietly, quiet=False), one_process).result.recipe.values
    assert seen == {(dtype, torch.float32)}
    assert layouts == {(channels_last, channels_last)}
    assert (values["precision"], values["layout"]) == (spec.recipe.precision, spec.recipe.layout)
    numbers = "bfloat16 autocast" if dtype == torch.bfloat16 else "float32"
    line = f"arithmetic: {numbers}, {values['layout']}, direct convolutions on cpu (--precision, --layout, --convolution)"
    assert line in capsys.readouterr().out


@pytest.mark.skipif(winograd_in_c.why_not() is not None, reason=str(winograd_in_c.why_not()))
@pytest.mark.parametrize("convolution", ["auto", "direct"])
def test_wide_networks_take_the_short_way_unless_told_otherwise(
    convolution: str,
    tiny_spec: Callable[..., RunSpec],
    quietly: Options,
    one_process: Processes,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spec = tiny_spec(model="MgNet[1,1]-[128]-B^l", epochs="1", batch_size="512", convolution=convolution)
    assert spec.recipe.convolution == ("winograd" if convolution == "auto" else "direct")
    calls: list[int] = []

    def watched(x: torch.Tensor, kernels: Kernels) -> torch.Tensor:
        calls.append(len(x))
        return convolve(x, kernels)

    monkeypatch.setattr(short_convolutions, "convolve", watched)
    fit(spec, replace(quietly, quiet=False), one_process)
    assert bool(calls) == (convolution == "auto")
    way = "direct" if convolution == "direct" else "winograd (in C)"
    assert f"{way} convolutions on cpu" in capsys.readouterr().out


def test_a_wide_network_is_trained_to_the_same_bits_again(
    tiny_spec: Callable[..., RunSpec], quietly: Options, one_process: Processes, tmp_path: Path, final_state: FinalState
) -> None:
    spec = tiny_spec(model="MgNet[1,1]-[128]-B^l", epochs="1", batch_size="512")
    folders = [fit(spec, replace(quietly, runs=tmp_path / str(time)), one_process).folder for time in range(2)]
    assert final_state(folders[0]) == final_state(folders[1])


def test_the_memory_mode_of_the_recipe_changes_rounding_only(
    tiny_spec: Callable[..., RunSpec], quietly: Options, one_process: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes: list[str] = []
    set_mode = mgnet_models.MgNet.set_memory_mode

    def watched(self: mgnet_models.MgNet, mode: MemoryMode) -> None:
        modes.append(mode)
        set_mode(self, mode)

    monkeypatch.setattr(mgnet_models.MgNet, "set_memory_mode", watched)
    first, second = (
        load_file(fit(tiny_spec(epochs="1", memory=memory), quietly, one_process).folder / WEIGHTS)
        for memory in ("default", "deep")
    )
    assert modes == ["deep"]
    for name, values in first.items():
        torch.testing.assert_close(second[name], values, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "mgresnet18_al_bl"}, "memory=lean asked for, but .* has no memory modes: use memory=default"),
        ({"form": "literal"}, "memory=lean is of the residual form: use form=residual"),
    ],
)
def test_a_memory_mode_that_the_network_has_not_is_refused(
    options: dict[str, str], message: str, tiny_spec: Callable[..., RunSpec], quietly: Options, one_process: Processes
) -> None:
    with pytest.raises(UserError, match=message):
        fit(tiny_spec(memory="lean", **options), quietly, one_process)
    assert not list(quietly.runs.glob("*"))
