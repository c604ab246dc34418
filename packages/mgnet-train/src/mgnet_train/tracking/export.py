"""The trained network as a model of MLflow, in torch.export's archive, which loads without this project's code."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mgnet_train.runs.folder import WEIGHTS
from mgnet_train.runs.journal import MACHINE_METRICS
from mgnet_train.tracking.calls import once
from mgnet_train.tracking.metadata import dataset, describe, tags
from mgnet_train.tracking.uri import VARIABLE

if TYPE_CHECKING:
    from mlflow.models import ModelSignature
    from torch import nn

    from mgnet_records.datasets import DataSetInfo

_EXAMPLES = 2  # torch.export would specialize on a batch of one
_OTHER_EXAMPLES = 3


def export_model(folder: Path, config: dict[str, Any], archive: Path) -> None:
    """Export the network of a run folder as an MLflow model, a new folder.

    The model takes normalized images (b, c, h, w) of the data set's size as float32, for any b, and returns logits, on the
    CPU, in evaluation mode. Raises whatever torch.export or the checkpoint raises, and ValueError when what was exported
    computes something else.
    """
    import mgnet_models
    from mgnet_records.datasets import DATA_SETS
    from mgnet_train.config.network import executed_form

    network = executed_form(mgnet_models.load_checkpoint(folder / WEIGHTS), config["execution"]["form"]).eval()
    save_exported_model(network, DATA_SETS[config["dataset"]], archive)


def save_exported_model(network: nn.Module, data: DataSetInfo, path: Path) -> None:
    """Write a network in evaluation mode as an MLflow model, a new folder, and check that it loads and computes the same.

    Raises what torch.export raises, and ValueError for other logits or a number of images that became fixed.
    """
    import mlflow.pytorch
    import torch

    mlflow.pytorch.save_model(
        network,
        path,
        signature=_signature(data),
        input_example=(torch.zeros(_EXAMPLES, *data.input_size),),
        serialization_format="pt2",
        pip_requirements=[f"torch=={torch.__version__.split('+')[0]}", "numpy"],  # given, else mlflow searches for a minute
        metadata={"mean": list(data.mean), "std": list(data.std)},
    )
    images = torch.rand(_OTHER_EXAMPLES, *data.input_size, generator=torch.Generator().manual_seed(0))
    loaded = mlflow.pytorch.load_model(str(path))
    with torch.no_grad():
        expected = network(images)
        try:
            logits = loaded(images)
        except Exception as error:
            reason = " ".join(str(error).split())
            raise ValueError(f"exported with {_EXAMPLES} images it does not take {_OTHER_EXAMPLES}: {reason}") from None
    if not torch.allclose(logits, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max())):
        raise ValueError(f"the exported network's logits differ by {float((logits - expected).abs().max()):.3g}")


def log_exported_model(client: Any, run: Any, archive: Path, config: dict[str, Any]) -> str:
    """Log an exported model to a run of MLflow; its address, `models:/m-...`. Raises what the store raises.

    mlflow's own call would use another experiment. A model that an interrupted attempt made is continued.
    """
    from mlflow.entities import LoggedModelOutput, Metric
    from mlflow.models import Model
    from mlflow.models.model import MLMODEL_FILE_NAME

    from mgnet_train.tracking.client import require_files

    run_id, experiment = run.info.run_id, run.info.experiment_id
    made = client.search_logged_models([experiment], f"source_run_id = '{run_id}'", max_results=1)
    if made:
        model = made[0]
    else:
        with once():
            model = client.create_logged_model(
                experiment, _plain(config["model"]), source_run_id=run_id, tags=tags(config), params=run.data.params
            )
    description = Model.load(str(archive))
    description.model_uuid = description.model_id = model.model_id
    description.artifact_path, description.run_id = model.artifact_location, run_id
    description.save(str(archive / MLMODEL_FILE_NAME))
    client.log_model_artifacts(model.model_id, str(archive))
    files = {path.relative_to(archive).as_posix(): path for path in archive.rglob("*") if path.is_file()}
    require_files(files, lambda place: client.list_logged_model_artifacts(model.model_id, place))
    epochs, data = config["recipe"]["epochs"], dataset(config)
    last = [
        Metric(
            m.key, m.value, m.timestamp, m.step, model_id=model.model_id, dataset_name=data["name"], dataset_digest=data["digest"]
        )
        for name in run.data.metrics
        if not name.startswith(MACHINE_METRICS)
        for m in client.get_metric_history(run_id, name)
        if m.step == epochs
    ]
    client.log_batch(run_id, metrics=last)
    if all(output.model_id != model.model_id for output in run.outputs.model_outputs):
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=epochs)])
    client.finalize_logged_model(model.model_id, "READY")
    return f"models:/{model.model_id}"


def register_model(client: Any, address: str, config: dict[str, Any], *, run_id: str, uri: str) -> str:
    """Register a logged model, one name for a network on a data set and one version for a run; `NAME/VERSION`.

    Raises what the registry raises. A version that an interrupted attempt made is found again.
    """
    from mlflow.exceptions import MlflowException

    name, model_id = f"{_plain(config['model'])}-{config['dataset']}", address.rsplit("/", 1)[-1]
    with suppress(MlflowException):  # it exists; the next call reports anything else
        client.create_registered_model(name, description=f"One version for each training of {name}.")
    found = client.search_model_versions(f"name = '{name}' and run_id = '{run_id}'", max_results=1)
    if found:
        version = found[0].version
    else:
        with once(), _tracking_uri(uri):
            version = client.create_model_version(
                name, address, run_id=run_id, description=describe(config), await_creation_for=0, model_id=model_id
            ).version
    # The tag by which MLflow's pages link a logged model to its version.
    client.set_logged_model_tags(model_id, {"mlflow.modelVersions": json.dumps([{"name": name, "version": version}])})
    return f"{name}/{version}"


@contextmanager
def _tracking_uri(uri: str) -> Iterator[None]:
    """The registry looks a model up in MLflow's global store, not in its client's; MLflow keeps that in the environment."""
    import mlflow

    before = os.environ.get(VARIABLE)
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before or None)


def _signature(data: DataSetInfo) -> ModelSignature:
    """Any number of normalized images to as many rows of logits."""
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    images = TensorSpec(np.dtype("float32"), (-1, *data.input_size), "normalized images")
    logits = TensorSpec(np.dtype("float32"), (-1, data.num_classes), "logits")
    return ModelSignature(inputs=Schema([images]), outputs=Schema([logits]))


def _plain(name: str) -> str:
    """A name that MLflow takes for a model."""
    return name.replace(".", "-").replace("/", "-").replace(":", "-")
