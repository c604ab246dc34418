"""The trained network as a model of MLflow, in torch.export's archive, which loads without this project's code."""

from __future__ import annotations

from pathlib import Path

from mgnet_train.runfolder import CONFIG, read_json

_EXAMPLES = 2  # torch.export would take a batch of one for a constant


def log_exported_model(folder: Path, weights: Path, *, run_id: str, uri: str) -> str:
    """Export the network of a run folder and give it to an MLflow run; the model's address, `models:/m-...`.

    The model takes normalised images (b, c, h, w) of the data set's size as float32 and returns logits, on the CPU, in
    evaluation mode. Raises whatever torch.export, the checkpoint or the store raises.
    """
    import mlflow.pytorch
    import numpy as np
    import torch
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    import mgnet_models
    from mgnet_train.data.facts import FACTS
    from mgnet_train.networks import executed_form

    config = read_json(folder / CONFIG)
    data = FACTS[config["dataset"]].model_data
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype("float32"), (-1, *data.input_size), "normalised images")]),
        outputs=Schema([TensorSpec(np.dtype("float32"), (-1, data.num_classes))]),
    )
    mlflow.set_tracking_uri(uri)
    info = Model.log(
        artifact_path=None,
        name="model",
        flavor=mlflow.pytorch,
        run_id=run_id,
        pytorch_model=executed_form(mgnet_models.load_checkpoint(weights), config["recipe"]["form"]),
        signature=signature,
        input_example=(torch.zeros(_EXAMPLES, *data.input_size),),
        serialization_format="pt2",
        pip_requirements=[f"torch=={torch.__version__.split('+')[0]}", "numpy"],  # given, else mlflow searches for a minute
    )
    return str(info.model_uri)
