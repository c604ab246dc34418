"""What a user asks to have verified: a registered name, the paper's notation, a checkpoint file, or anyone's network."""

from __future__ import annotations

import difflib
import hashlib
import importlib
import sys
from dataclasses import dataclass
from pathlib import Path

import timm
from torch import nn

import mgnet_models
from mgnet_models.notation import Notation
from mgnet_verify.errors import UserError

NOTATION = "MgNet[2,2]-[48]-B^l"


@dataclass(frozen=True, kw_only=True, eq=False)
class Target:
    """A network to verify; `trained` says that its weights are of interest themselves."""

    name: str
    model: nn.Module
    checkpoint_sha256: str | None = None

    @property
    def trained(self) -> bool:
        """Whether the weights come from a file."""
        return self.checkpoint_sha256 is not None

    @property
    def notation(self) -> Notation | None:
        """The paper's notation, None for a network that has none."""
        notation = getattr(self.model, "notation", None)
        return notation if isinstance(notation, Notation) else None


def resolve(text: str) -> Target:
    """The target that `text` names; UserError says in one line what is wrong with it."""
    try:
        if text.endswith(".safetensors") or Path(text).is_file():
            return from_checkpoint(Path(text))
        if ":" in text:
            return from_factory(text)
        if "[" in text:
            return Target(name=text, model=timm.create_model("mgnet", notation=Notation.parse(text)))
        return from_name(text)
    except UserError:
        raise
    except ValueError as error:
        raise UserError(str(error)) from None


def from_checkpoint(path: Path) -> Target:
    """A file written by `mgnet_models.save_checkpoint`; any other is refused without being unpickled."""
    model = mgnet_models.load_checkpoint(path)
    name = str((getattr(model, "pretrained_cfg", None) or {}).get("architecture") or path.stem)
    return Target(name=name, model=model, checkpoint_sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def from_factory(text: str) -> Target:
    """`package.module:factory`, a callable without arguments that returns the network."""
    module_name, _, factory_name = text.partition(":")
    sys.path.insert(0, "")  # as `python -m` does, so that a module in the current folder is found
    try:
        factory = getattr(importlib.import_module(module_name), factory_name)
    except (ImportError, ValueError) as error:
        raise UserError(f"cannot import {module_name!r} ({error}): write package.module:factory") from None
    except AttributeError:
        raise UserError(f"module {module_name!r} has no {factory_name!r}: write package.module:factory") from None
    finally:
        sys.path.remove("")
    model = factory() if callable(factory) else factory
    if not isinstance(model, nn.Module):
        raise UserError(f"{text!r} gives {type(model).__name__}, not a torch module: name a callable that returns one")
    return Target(name=text, model=model.eval())


def from_name(name: str) -> Target:
    """A name of timm's registry, with a data set's tag if wanted. A MgNet without a name has its notation instead."""
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, mgnet_models.registered_names(), n=3, cutoff=0.5)
        meant = f"did you mean {', '.join(near)}?" if near else "`python -m mgnet_models` lists the names."
        raise UserError(f"unknown model {name!r}: {meant} Any other MgNet is written as its notation, as in {NOTATION!r}")
    return Target(name=name, model=_created(name))


def _created(name: str) -> nn.Module:
    try:
        return timm.create_model(name).eval()
    except RuntimeError as error:
        raise UserError(f"{name!r} cannot be built: {' '.join(str(error).split())}") from None
