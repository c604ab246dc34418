"""What MLflow gets as the model: one archive for each family, which loads without this project and computes the same logits."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow.pytorch
import pytest
import timm
import torch
from mlflow.tracking import MlflowClient
from safetensors.torch import save_file
from torch import Tensor, nn

from mgnet_records.datasets import DATA_SETS, DataSetInfo
from mgnet_train import Options, RunSpec, fit
from mgnet_train.config.network import executed_form
from mgnet_train.tracking.export import save_exported_model
from mgnet_train.tracking.uploader import Uploader
from mgnet_train.tracking.worker import Sender
from mgnet_train.train.distributed import Processes
from models.small_networks import SMALL

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")  # mlflow's use of sqlalchemy

# The families of the other papers, small; SMALL has ours.
BASELINES: dict[str, tuple[str, dict[str, Any]]] = {
    "mlcsc": ("mlcsc", {"coding": (8, 8, 16), "plain": ((16, 16),)}),
    "cifar_alexnet": ("cifar_alexnet", {"widths": ((4,), (5,), (6, 7, 8))}),
    "cifar_vgg": ("cifar_vgg19_bn", {"widths": ((2, 3), (4, 4), (5,), (6,), (7,))}),
    "cifar_wide_resnet": ("cifar_wrn28_2", {"blocks": (1, 2), "channels": (8, 16)}),
    "cifar_preactresnet": ("cifar_preactresnet1001", {"blocks": (2, 1, 1), "channels": (16, 32, 32)}),
    "imagenet_alexnet": ("imagenet_alexnet", {"hidden": 10}),
}
FAMILIES = SMALL | BASELINES
COLOR = replace(DATA_SETS["cifar10"], key="small", num_classes=5, mean=(0.5,) * 3, std=(0.25,) * 3)
LARGE = replace(COLOR, input_size=(3, 224, 224))


def data_of(family: str) -> DataSetInfo:
    return LARGE if family in ("imagenet_alexnet", "mgnet_224") else COLOR


def make(family: str) -> nn.Module:
    """A network whose norms have moved statistics, so that none of them is the identity."""
    name, arguments = FAMILIES[family]
    network = timm.create_model(name, **(arguments | {"num_classes": COLOR.num_classes}))
    network(torch.randn(4, *data_of(family).input_size))
    return network.eval()


@pytest.mark.nightly
def test_every_family_loads_where_this_project_cannot_be_imported_and_gives_equal_logits(tmp_path: Path) -> None:
    """Exported with two images, the archives take one, two and five; the logits are those of the network to the last bit."""
    networks = {family: make(family) for family in FAMILIES}
    feature = ("mgnet_bl", "mgnet_bli")
    networks |= {f"{family}_feature": executed_form(networks[family], "feature").eval() for family in feature}
    expected: dict[str, Tensor] = {}
    for family, network in networks.items():
        data = data_of(family)
        save_exported_model(network, data, tmp_path / family)
        with torch.no_grad():
            for count in (1, 2, 5):
                images = torch.randn(count, *data.input_size)
                expected |= {f"{family}/{count}/images": images, f"{family}/{count}/logits": network(images)}
    save_file(expected, tmp_path / "expected.safetensors")
    code = """
import sys
for name in ("mgnet_models", "mgnet_train", "timm"):
    sys.modules[name] = None
    try:
        __import__(name)
    except ImportError:
        continue
    sys.exit(f"{name} can be imported")
import mlflow.pytorch, torch
from safetensors.torch import load_file
torch.set_num_threads(1)
expected = load_file(sys.argv[1] + "/expected.safetensors")
for key in sorted(expected):
    family, count, kind = key.split("/")
    if kind == "images":
        with torch.no_grad():
            logits = mlflow.pytorch.load_model(f"{sys.argv[1]}/{family}")(expected[key])
        print(family, count, torch.equal(logits, expected[f"{family}/{count}/logits"]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False, timeout=300, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:-1] == [f"{family} {count} True" for family in sorted(networks) for count in (1, 2, 5)]


@pytest.mark.parametrize("family", ["mgnet_bl", "msdcsc", "mlcsc", "imagenet_alexnet"])
def test_an_archive_takes_any_number_of_images_and_says_how_they_are_normalized(family: str, tmp_path: Path) -> None:
    network, data = make(family), data_of(family)
    save_exported_model(network, data, tmp_path / "model")
    loaded = mlflow.pytorch.load_model(str(tmp_path / "model"))
    with torch.no_grad():
        for count in (1, 7):
            images = torch.randn(count, *data.input_size)
            assert torch.equal(loaded(images), network(images))
    information = mlflow.models.get_model_info(str(tmp_path / "model"))
    assert information.metadata == {"mean": list(data.mean), "std": list(data.std)}
    assert information.signature.inputs.inputs[0].shape == (-1, *data.input_size)
    assert information.signature.outputs.inputs[0].shape == (-1, data.num_classes)


class _FixedNumber(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.reshape(2, -1)[:, :5]


class _OtherWhenExported(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)[:, :5] * (2 if torch.compiler.is_exporting() else 1)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (_FixedNumber(), "exported with 2 images it does not take 3: "),
        (_OtherWhenExported(), "the exported network's logits differ by 0.9"),
    ],
)
def test_an_archive_that_computes_something_else_is_rejected(network: nn.Module, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        save_exported_model(network.eval(), COLOR, tmp_path / "model")


def test_the_model_belongs_to_the_run_and_its_experiment_and_is_registered_once(
    tiny_spec: Callable[..., RunSpec],
    quietly: Options,
    one_process: Processes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    outcome = fit(tiny_spec(epochs="1"), quietly, one_process)
    Uploader(outcome.folder, Sender()).send_new()
    (outcome.folder / "journal.offset").unlink()  # as if the uploader had been killed before it wrote the offset
    Uploader(outcome.folder, Sender()).send_new()
    client = MlflowClient(f"sqlite:///{quietly.runs / 'mlflow.db'}")
    run = client.get_run(json.loads((outcome.folder / "mlflow.json").read_text())["run_id"])
    [model] = client.search_logged_models([run.info.experiment_id])
    assert (model.source_run_id, model.status, model.model_uri) == (
        run.info.run_id,
        "READY",
        run.data.tags["mgnet.exported_model"],
    )
    assert model.artifact_location.startswith((quietly.runs / "mlartifacts").as_uri())
    assert {metric.key: metric.value for metric in model.metrics}["test/accuracy_last"] == outcome.result.accuracy_last
    [version] = client.search_model_versions(f"run_id = '{run.info.run_id}'")
    assert f"{version.name}/{version.version}" == run.data.tags["mgnet.registered_model"] == f"{outcome.result.model}-digits/1"
    assert f"({outcome.result.parameters:,} parameters) on digits" in version.description
    assert not list(here.iterdir())
