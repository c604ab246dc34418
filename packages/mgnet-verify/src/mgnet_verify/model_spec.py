"""From what a user names to a network: a registered name, the paper's notation, a checkpoint file, or `module:factory`."""

from __future__ import annotations

import hashlib
import importlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import timm
from torch import nn

import mgnet_models
from mgnet_models.notation import Notation
from mgnet_records.errors import InputError, near_names

# The notation that messages show.
EXAMPLE_NOTATION = "MgNet[2,2]-[48]-B^l"


@dataclass(frozen=True, kw_only=True, eq=False)
class ModelSpec:
    """A network to verify. `checkpoint_sha256` is set where its weights come from a file."""

    name: str
    model: nn.Module
    checkpoint_sha256: str | None = None

    @property
    def notation(self) -> Notation | None:
        """The paper's notation, None for a network that has none."""
        notation = getattr(self.model, "notation", None)
        return notation if isinstance(notation, Notation) else None


def resolve(text: str) -> ModelSpec:
    """The network that `text` names, in evaluation mode. Raises InputError, which says in one line what is wrong with it."""
    try:
        if text.endswith(".safetensors") or Path(text).is_file():
            return from_checkpoint(Path(text))
        if ":" in text:
            return from_factory(text)
        if "[" in text:
            return ModelSpec(name=text, model=timm.create_model("mgnet", notation=Notation.parse(text)).eval())
        return from_name(text)
    except ValueError as error:  # what mgnet_models raises for a bad notation, size or file
        raise InputError(str(error)) from None


def from_checkpoint(path: Path) -> ModelSpec:
    """A file written by `mgnet_models.save_checkpoint`. Any other is rejected without being unpickled."""
    model = mgnet_models.load_checkpoint(path)
    name = str((getattr(model, "pretrained_cfg", None) or {}).get("architecture") or path.stem)
    if name == "mgnet":  # the entry for any notation: the name that the training gave its run is that of the notation
        mgnet = cast(mgnet_models.MgNet, model)
        name = mgnet.notation.timm_name(mgnet.stem_kind)
    return ModelSpec(name=name, model=model.eval(), checkpoint_sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def from_factory(text: str) -> ModelSpec:
    """`package.module:factory`, where the factory is a callable without arguments that returns the network."""
    module_name, _, factory_name = text.partition(":")
    sys.path.insert(0, "")  # as `python -m` does, so that a module in the current folder is found
    try:
        module = importlib.import_module(module_name)
        factory = getattr(module, factory_name)
        model = factory() if callable(factory) and not isinstance(factory, nn.Module) else factory
    except (ImportError, ValueError) as error:
        raise InputError(f"cannot import {module_name!r} ({error}): write package.module:factory") from None
    except Exception as error:  # whatever the code of a user raises
        if isinstance(error, AttributeError) and not hasattr(sys.modules.get(module_name), factory_name):
            raise InputError(f"module {module_name!r} has no {factory_name!r}: write package.module:factory") from None
        what = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"{text!r} gives no network, its code raises {what}: name a callable that returns one") from None
    finally:
        sys.path.remove("")
    if not isinstance(model, nn.Module):
        raise InputError(f"{text!r} gives {type(model).__name__}, not a torch module: name a callable that returns one")
    return ModelSpec(name=text, model=model.eval())


def from_name(name: str) -> ModelSpec:
    """A name of timm's registry, with a data set's tag if wanted. A MgNet without a name has its notation instead."""
    if not timm.is_model(name):
        near = near_names(name, mgnet_models.registered_names(), limit=3)
        meant = f"did you mean {', '.join(near)}?" if near else "`python -m mgnet_models` lists the names."
        raise InputError(f"unknown model {name!r}: {meant} Any other MgNet is written as its notation, as in {EXAMPLE_NOTATION!r}")
    try:
        return ModelSpec(name=name, model=timm.create_model(name).eval())
    except RuntimeError as error:
        raise InputError(f"{name!r} cannot be built: {error}") from None
