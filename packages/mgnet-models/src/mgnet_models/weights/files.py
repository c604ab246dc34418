"""A trained model as one safetensors file whose header says which network it is. Nothing is ever unpickled.

The files in `digits/` come with the package, so that `pretrained=True` needs no network: `make weights` trains them by
mgnet-train's own recipe, and `digits/stated.json` holds recipe, seed, commit and the images they get right.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import nn

from mgnet_models.weights.state_dicts import misfit, plain_keys, require_numbers
from mgnet_records.files import write_bytes

# One entry holds all of the description: safetensors writes several in random order, and equal models would differ as files.
_DESCRIPTION = "mgnet"
_DIGITS = Path(__file__).parent / "digits"


def save_checkpoint(model: nn.Module, path: str | Path, *, model_name: str, model_args: Mapping[str, Any]) -> None:
    """Write weights and buffers with the arguments of `timm.create_model`; complete or not at all.

    Equal models give equal files, byte for byte. Of a wrapped model (torch.compile, DistributedDataParallel, DataParallel, FSDP,
    averaged models, nested in any order) the model inside is saved. Raises ValueError for what `load_checkpoint` would refuse:
    arguments that are no JSON, and a model that is not the one that name and arguments build (pruned, parametrized, another
    number of classes); and `mgnet_records.errors.InputError` where the file cannot be written.
    """
    args = dict(model_args)
    try:
        description = json.dumps({"model": model_name, "model_args": args}, sort_keys=True, allow_nan=False)
        fresh = timm.create_model(model_name, **_without_weights(args) | {"device": "meta"})
    except (TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{model_name!r} with model_args={args!r} cannot be saved: {reason}; give layers by their names") from None
    state = plain_keys(model.state_dict())
    state.pop("n_averaged", None)  # the counter of torch's AveragedModel
    if fault := misfit(state, fresh.state_dict()):
        raise ValueError(
            f"the model is not {model_name!r} with model_args={args!r}: it {fault}; make pruning permanent, or say what it is"
        )
    if any(tensor.is_meta for tensor in state.values()):
        raise ValueError("a model on the meta device has no weights to save: move it with to_empty and init_weights")
    tensors = {key: tensor.detach().cpu().contiguous().clone() for key, tensor in state.items()}
    write_bytes(Path(path), save(tensors, {_DESCRIPTION: description}))


def read_description(path: str | Path) -> tuple[str, dict[str, Any]]:
    """Model name and arguments from the header of a file that `save_checkpoint` wrote; ValueError otherwise."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except FileNotFoundError:
        raise ValueError(f"no checkpoint at {path}: give the path of a .safetensors file") from None
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"{path} is not a readable safetensors file ({error}): give one written by save_checkpoint, or load a state dict of "
            "PyTorch by timm.models.load_checkpoint(model, path)"
        ) from None
    if _DESCRIPTION not in metadata:
        raise ValueError(f"{path} does not say which model it holds: write it with mgnet_models.save_checkpoint")
    try:
        description = json.loads(metadata[_DESCRIPTION])
        name, args = description["model"], description["model_args"]
    except (json.JSONDecodeError, KeyError, TypeError):
        name = args = None
    if not isinstance(name, str) or not isinstance(args, dict):
        raise ValueError(f"{path} has a corrupt description {metadata[_DESCRIPTION]!r}: write it again with save_checkpoint")
    return name, args


def load_checkpoint(path: str | Path) -> nn.Module:
    """The model in eval mode with the weights of the file, in their dtype; on the CPU.

    Raises ValueError when name, arguments or tensors do not fit, and for NaN or infinity among the weights.
    """
    name, args = read_description(path)
    try:
        model = timm.create_model(name, **_without_weights(args))
    except (RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"{path} does not fit the model {name!r} with {args}: {' '.join(str(error).split())}") from None
    state = {key: tensor.clone() for key, tensor in plain_keys(load_file(path)).items()}  # no views of the file
    if fault := misfit(state, model.state_dict()):
        raise ValueError(f"{path} does not fit the model {name!r} with {args}: it {fault}")
    require_numbers(state, path)
    model.load_state_dict(state, assign=True)  # the dtype is that of the file: no bit is lost
    return model.eval()


def _without_weights(args: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of `timm.create_model` without those that load weights, which those of the file replace."""
    return {key: value for key, value in args.items() if key not in ("pretrained", "checkpoint_path")}


def packaged_weights(tagged_name: str) -> Path | None:
    """The safetensors file of `name.tag`, or None where no weights exist."""
    path = _DIGITS / f"{tagged_name}.safetensors"
    return path if path.is_file() else None


def stated_results() -> dict[str, dict[str, Any]]:
    """For each name with weights: recipe, seed, commit, and `test` with the images of the test split it gets right."""
    return json.loads((_DIGITS / "stated.json").read_text(encoding="utf-8"))
