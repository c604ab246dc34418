"""A run trains, resumes and reports: the same numbers everywhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import torch
from safetensors.torch import load_file

import mgnet_models
from mgnet_records.errors import InputError
from mgnet_records.provenance import CodeState
from mgnet_records.run_result import read_run_result
from mgnet_train import Execution, Options, RunSpec, fit, load_dataset, make_spec
from mgnet_train.cli.main import main
from mgnet_train.config.execution import Form
from mgnet_train.config.network import NetworkSpec
from mgnet_train.data.augment import Normalize
from mgnet_train.experiments.sweep import run_all
from mgnet_train.runs.folder import WEIGHTS
from mgnet_train.runs.journal import JOURNAL, read_records
from mgnet_train.tracking.calls import quiet_mlflow
from mgnet_train.tracking.uploader import Uploader
from mgnet_train.tracking.worker import Sender
from mgnet_train.train.distributed import Processes

FinalState = Callable[[Path], object]


def test_the_default_reaches_98_percent_on_held_out_digits(one_process: Processes, quietly: Options) -> None:
    spec = make_spec("mgnet_2_2_c32_bl", dataset="digits")
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
    run = client.get_run(json.loads((folder / "mlflow.json").read_text())["run_id"])
    assert run.data.tags["mgnet.run_id"] == result["run_id"] == json.loads((folder / "config.json").read_text())["run_id"]
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
        logits = network(Normalize(data.info, torch.device("cpu"))(data.test.images))
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
        replace(spec, code=CodeState(sha="1" * 40, dirty=True)),
        replace(spec, code=CodeState(sha="1" * 40, dirty=False)),
    ]
    assert len({spec.folder_name, *(other.folder_name for other in others)}) == 6
    assert tiny_spec().identity == spec.identity


@pytest.mark.parametrize(
    ("overrides", "form"),
    [
        pytest.param({}, "residual", id="plain"),
        pytest.param({"accumulate": "4"}, "residual", id="micro-batches"),
        pytest.param({"mixup": "0.4", "ema_decay": "0.9"}, "residual", id="mixup-average"),
        pytest.param({}, "feature", id="feature-form"),
    ],
)
def test_two_runs_of_one_spec_end_with_the_same_bits(
    tiny_spec: Callable[..., RunSpec],
    quietly: Options,
    one_process: Processes,
    tmp_path: Path,
    final_state: FinalState,
    overrides: dict[str, str],
    form: Form,
) -> None:
    spec = tiny_spec(execution=Execution(form=form), **overrides)
    ends = [fit(spec, replace(quietly, runs=tmp_path / name), one_process) for name in ("a", "b")]
    assert final_state(ends[0].folder) == final_state(ends[1].folder)


def test_micro_batches_keep_fewer_activations_and_hardly_change_the_first_losses(
    tiny_spec: Callable[..., RunSpec], quietly: Options, one_process: Processes
) -> None:
    """What is kept for the backward pass at once is that of one micro-batch; the batch statistics differ, so losses do a little."""
    losses, most, backward = [], [], torch.Tensor.backward
    for parts in ("1", "4"):
        kept, largest = 0, 0

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal kept, largest
            kept += tensor.numel()
            largest = max(largest, kept)
            return tensor

        def forget(*_: object) -> None:
            nonlocal kept
            kept = 0  # a backward pass has freed what its forward pass kept

        with pytest.MonkeyPatch.context() as patch, torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            patch.setattr(torch.Tensor, "backward", lambda loss: (backward(loss), forget()))
            end = fit(tiny_spec(accumulate=parts, epochs="1"), quietly, one_process)
        most.append(largest)
        losses.append(next(r for r in read_records(end.folder / JOURNAL, 0)[0] if r.kind == "epoch").metrics["train/loss"])
    assert most[1] < 0.3 * most[0]
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
    ("execution", "dtype", "channels_last"),
    [
        pytest.param(Execution(precision="mixed"), torch.bfloat16, True, id="mixed"),
        pytest.param(Execution(), torch.float32, True, id="default"),
        pytest.param(Execution(layout="contiguous"), torch.float32, False, id="contiguous"),
    ],
)
def test_precision_and_layout_are_those_of_the_execution_and_are_named_in_the_log(
    execution: Execution,
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
    spec = tiny_spec(epochs="1", execution=execution)
    recorded = fit(spec, replace(quietly, quiet=False), one_process).result.execution
    assert seen == {(dtype, torch.float32)}
    assert layouts == {(channels_last, channels_last)}
    assert (recorded.precision, recorded.layout) == (spec.execution.precision, spec.execution.layout)
    numbers = "mixed (bfloat16 autocast)" if dtype == torch.bfloat16 else "deterministic (float32)"
    assert f"execution: {numbers}, {recorded.layout}, direct convolutions, " in capsys.readouterr().out


@pytest.mark.skipif(mgnet_models.winograd_backend() == "aten", reason="no C code")
@pytest.mark.parametrize("convolution", ["auto", "direct"])
def test_wide_networks_use_winograd_unless_direct_is_given(
    convolution: Literal["auto", "direct"],
    tiny_spec: Callable[..., RunSpec],
    quietly: Options,
    one_process: Processes,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spec = tiny_spec(model="MgNet[1,1]-[128]-B^l", epochs="1", batch_size="512", execution=Execution(convolution=convolution))
    assert spec.execution.convolution == ("winograd" if convolution == "auto" else "direct")
    recorded = fit(spec, replace(quietly, quiet=False), one_process).result.execution
    assert recorded.convolution == spec.execution.convolution
    assert recorded.kernel_backend == (mgnet_models.winograd_backend() if convolution == "auto" else None)
    shown = "direct" if convolution == "direct" else f"winograd convolutions ({recorded.kernel_backend})"
    assert shown in capsys.readouterr().out


def test_a_wide_network_is_trained_to_the_same_bits_again(
    tiny_spec: Callable[..., RunSpec], quietly: Options, one_process: Processes, tmp_path: Path, final_state: FinalState
) -> None:
    spec = tiny_spec(model="MgNet[1,1]-[128]-B^l", epochs="1", batch_size="512")
    folders = [fit(spec, replace(quietly, runs=tmp_path / str(time)), one_process).folder for time in range(2)]
    assert final_state(folders[0]) == final_state(folders[1])


def test_the_recompute_mode_of_the_execution_changes_rounding_only(
    tiny_spec: Callable[..., RunSpec], quietly: Options, one_process: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes: list[str] = []
    set_mode = mgnet_models.MgNet.set_recompute

    def watched(self: mgnet_models.MgNet, mode: mgnet_models.RecomputeMode) -> None:
        modes.append(mode)
        set_mode(self, mode)

    monkeypatch.setattr(mgnet_models.MgNet, "set_recompute", watched)
    ends = [fit(tiny_spec(epochs="1", execution=Execution(recompute=mode)), quietly, one_process) for mode in ("none", "sublinear")]
    first, second = (load_file(end.folder / WEIGHTS) for end in ends)
    assert set(modes) == {"sublinear"}  # also of the copy that is tried before the first step
    assert [end.result.execution.recompute for end in ends] == ["none", "sublinear"]
    for name, values in first.items():
        torch.testing.assert_close(second[name], values, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("model", "execution", "message"),
    [
        pytest.param(
            "mgresnet18_al_bl",
            Execution(recompute="selective"),
            "recompute=selective: .* has no recompute modes, use recompute=none",
            id="recompute-without-modes",
        ),
        pytest.param(
            "gdfi_lin_both", Execution(form="feature"), "form=feature: GDFI has one form only, use form=residual", id="one-form"
        ),
    ],
)
def test_an_execution_that_the_network_does_not_have_is_rejected(
    model: str,
    execution: Execution,
    message: str,
    tiny_spec: Callable[..., RunSpec],
    quietly: Options,
    one_process: Processes,
) -> None:
    with pytest.raises(InputError, match=message):
        fit(tiny_spec(model=model, execution=execution), quietly, one_process)
    assert not list(quietly.runs.glob("*"))


def test_finished_runs_are_recognized_before_data_are_read_or_a_network_is_made(
    tiny_spec: Callable[..., RunSpec], quietly: Options, one_process: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    specs = [tiny_spec(seed=seed, epochs="1") for seed in range(2)]
    assert run_all(specs, quietly, one_process, lambda line: None) == []

    def untouched(*_: object, **__: object) -> None:
        raise AssertionError("a finished run needs neither data nor a network")

    monkeypatch.setattr("mgnet_train.runs.run.load_dataset", untouched)
    monkeypatch.setattr(NetworkSpec, "make", untouched)
    lines: list[str] = []
    assert run_all(specs, quietly, one_process, lines.append) == []
    assert [line.endswith("(finished before)") for line in lines] == [True, True]


def test_one_folder_holds_one_execution(tiny_spec: Callable[..., RunSpec], quietly: Options, one_process: Processes) -> None:
    """As when a run that was begun on a CPU goes on with the defaults of CUDA: its name is the same, its execution is not."""
    spec = tiny_spec(epochs="1")
    folder = fit(spec, quietly, one_process).folder
    other = replace(spec, execution=replace(spec.execution, precision="mixed", layout="contiguous"))
    assert other.folder_name == f"{spec.folder_name}-mixed-contiguous"
    folder.rename(folder.with_name(other.folder_name))
    both = r"precision=deterministic layout=channels_last, now precision=mixed layout=contiguous: give the first ones"
    with pytest.raises(InputError, match=rf"was started with {both}"):
        fit(other, quietly, one_process)
    (quietly.runs / other.folder_name / "result.json").unlink()
    with pytest.raises(InputError, match=rf"was started with {both}"):
        fit(other, quietly, one_process)


@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")  # mlflow's own use of sqlalchemy
def test_result_json_is_written_once_and_is_valid_whatever_the_tracker_does(
    tiny_spec: Callable[..., RunSpec], quietly: Options, one_process: Processes
) -> None:
    outcome = fit(tiny_spec(epochs="1"), quietly, one_process)
    path = outcome.folder / "result.json"
    before = path.read_bytes(), path.stat().st_mtime_ns
    assert read_run_result(path) == outcome.result
    Uploader(outcome.folder, Sender()).send_new()
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    link = json.loads((outcome.folder / "mlflow.json").read_text())
    assert link["run_id"] != outcome.result.run_id
    assert fit(tiny_spec(epochs="1"), quietly, one_process).is_sent
