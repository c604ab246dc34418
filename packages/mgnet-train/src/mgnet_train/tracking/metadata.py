"""What MLflow's pages show of a run beside its metrics and files: parameters, tags, descriptions, data; each fact once."""

from __future__ import annotations

import getpass
import json
from contextlib import suppress
from typing import Any

RUN_ID_TAG = "mgnet.run_id"
_DESCRIPTION = "mlflow.note.content"
_LONGEST_DESCRIPTION = 5000  # of a tag, in every version of MLflow

EXPERIMENT_TAGS = {
    _DESCRIPTION: (
        "One run for each network, data set, recipe, seed and state of the code. "
        "`test/accuracy_last`, after the last epoch, is the result; `test/accuracy_best` is that of the best epoch, chosen by "
        "looking at the test images; `test/accuracy_top5` counts an image whose class is among five answers. `train/step_loss` "
        "and `train/lr` are drawn over training steps, all other metrics over epochs."
    ),
}


def parameters(config: dict[str, Any]) -> dict[str, str]:
    """What decides the numbers, from a run's config.json: network, data, recipe, seed, execution, machine; no empty ones."""
    params = {key: config[key] for key in ("model", "notation", "parameters", "dataset", "seed")}
    params["model_args"] = _further(config["model_args"])
    params |= {f"recipe.{key}": value for key, value in config["recipe"].items()}
    params |= {f"execution.{key}": value for key, value in config["execution"].items()}
    params |= {f"environment.{key}": value for key, value in config["environment"].items() if key != "packages"}
    params |= {f"environment.{key}": value for key, value in config["environment"]["packages"].items()}
    return {key: str(value) for key, value in params.items() if value is not None}


def tags(config: dict[str, Any]) -> dict[str, str]:
    """What a run is found by and where it came from, with a description for people."""
    found_by = {
        RUN_ID_TAG: config["run_id"],
        "mgnet.recipe_sha256": config["recipe_sha256"],
        "mgnet.dirty": {True: "true", False: "false", None: "unknown"}[config["dirty"]],
        "mlflow.source.type": "LOCAL",
        "mlflow.source.name": "mgnet-train",
        _DESCRIPTION: describe(config)[:_LONGEST_DESCRIPTION],
    }
    if config["commit"]:
        found_by["mlflow.source.git.commit"] = config["commit"]
    with suppress(OSError, KeyError, ImportError):  # the system has no name for this user
        found_by["mlflow.user"] = getpass.getuser()
    return found_by


def dataset(config: dict[str, Any]) -> dict[str, str]:
    """The data set as the fields of MLflow's entity; the digest is the first half of the one in config.json."""
    data = config["data"]
    return {
        "name": data["name"],
        "digest": data["sha256"][:32],
        "source_type": "local",
        "source": json.dumps({"sha256": data["sha256"], "contents_sha256": data.get("contents_sha256")}),
        "profile": json.dumps({"train_images": data["train_images"], "test_images": data["test_images"]}),
    }


def describe(config: dict[str, Any]) -> str:
    """One sentence in Markdown on what is trained, on what and how."""
    data, recipe = config["data"], config["recipe"]
    notation = f", {config['notation']}" if config["notation"] else ""
    return (
        f"`{config['model']}{notation}` ({config['parameters']:,} parameters) on {data['name']} "
        f"({data['train_images']:,} training and {data['test_images']:,} test images), "
        f"recipe `{recipe['name']}` for {recipe['epochs']} epochs, seed {config['seed']}."
    )


def _further(model_args: dict[str, Any]) -> str | None:
    """The model's arguments that neither its notation nor its data set gives."""
    further = {key: value for key, value in model_args.items() if key not in ("notation", "in_chans", "num_classes")}
    return json.dumps(further) if further else None
