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
from timm.utils import ModelEmaV2, ModelEmaV3
from torch import nn

from mgnet_records.files import write_bytes

# One entry holds all of the description: safetensors writes several in random order, and equal models would differ as files.
_DESCRIPTION = "mgnet"
_DIGITS = Path(__file__).parent / "digits"


def save_checkpoint(model: nn.Module, path: str | Path, *, model_name: str, model_args: Mapping[str, Any]) -> None:
    """Write weights and buffers with the arguments of `timm.create_model`; complete or not at all.

    Equal models give equal files, byte for byte. Of a model wrapped by torch.compile, DistributedDataParallel, DataParallel
    or timm's ModelEma the model inside is saved. Raises ValueError for arguments that are no JSON, and
    `mgnet_records.errors.InputError` where the file cannot be written.
    """
    try:
        description = json.dumps({"model": model_name, "model_args": dict(model_args)}, sort_keys=True)
    except TypeError as error:
        raise ValueError(f"model_args={dict(model_args)!r} cannot be saved: {error}; give layers by their names") from None
    tensors = {key: tensor.cpu().contiguous() for key, tensor in _unwrapped(model).state_dict().items()}
    write_bytes(Path(path), save(tensors, {_DESCRIPTION: description}))


def _unwrapped(model: nn.Module) -> nn.Module:
    """The model inside of wrappers, whose names would not load again."""
    if isinstance(model, nn.parallel.DistributedDataParallel | nn.DataParallel | ModelEmaV2 | ModelEmaV3):
        return _unwrapped(model.module)
    compiled = model._modules.get("_orig_mod")
    return model if compiled is None else _unwrapped(compiled)


def read_description(path: str | Path) -> tuple[str, dict[str, Any]]:
    """Model name and arguments from the header of a file that `save_checkpoint` wrote; ValueError otherwise."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except FileNotFoundError:
        raise ValueError(f"no checkpoint at {path}: give the path of a .safetensors file") from None
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is not a readable safetensors file ({error}): give one written by save_checkpoint") from None
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
    """The model in eval mode with the weights of the file; ValueError when name, arguments or tensors do not fit."""
    name, args = read_description(path)
    try:
        model = timm.create_model(name, **args)
        model.load_state_dict(load_file(path))
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"{path} does not fit the model {name!r} with {args}: {' '.join(str(error).split())}") from None
    return model.eval()


def packaged_weights(tagged_name: str) -> Path | None:
    """The safetensors file of `name.tag`, or None where no weights exist."""
    path = _DIGITS / f"{tagged_name}.safetensors"
    return path if path.is_file() else None


def stated_results() -> dict[str, dict[str, Any]]:
    """For each name with weights: recipe, seed, commit, and `test` with the images of the test split it gets right."""
    return json.loads((_DIGITS / "stated.json").read_text(encoding="utf-8"))
