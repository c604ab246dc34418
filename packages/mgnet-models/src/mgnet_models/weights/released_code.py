"""Checkpoints of the authors' released code, brought to the names of this package.

That code registers A and B again in every block that uses them, so a tensor comes several times; the copies must agree.
Its keys: conv1, bn1; layer{g}.{k}.{A,B,bn1,bn2} for the iterations of grid g; for g >= 1 a first entry
layer{g}.0.{A_old,A_conv,Pi_conv,R_conv,bn1,bn2} for the transfer; fc.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mgnet_models.weights.state_dicts import read_state_dict, require_numbers

if TYPE_CHECKING:
    from mgnet_models.mgnet.model import MgNet

_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def is_authors_checkpoint(state_dict: Mapping[str, Tensor]) -> bool:
    """Whether the keys are those of the released code."""
    return "conv1.weight" in state_dict and any(key.startswith("layer0.") for key in state_dict)


def from_authors(state_dict: Mapping[str, Tensor], model: MgNet) -> dict[str, Tensor]:
    """The state dict of `model` from one of the released code.

    Raises ValueError that names the key when one is missing, unknown, of another shape, or when two copies of a shared
    tensor differ.
    """
    wanted = model.state_dict()
    converted: dict[str, Tensor] = {}
    used = set()
    for theirs, ours in _renamed(model):
        if theirs not in state_dict:
            raise ValueError(f"key {theirs!r} is missing: the checkpoint is not one of {model.notation} by the released code")
        tensor = state_dict[theirs]
        used.add(theirs)
        if tensor.shape != wanted[ours].shape:
            raise ValueError(f"key {theirs!r} has shape {tuple(tensor.shape)}, {model.notation} needs {tuple(wanted[ours].shape)}")
        if ours in converted and not torch.equal(converted[ours], tensor):
            raise ValueError(f"key {theirs!r} differs from the other copies of the tensor that they share, {ours!r} here")
        converted[ours] = tensor
    for key in state_dict:
        if key not in used:
            raise ValueError(f"key {key!r} is unknown: the checkpoint is not one of {model.notation} by the released code")
    return converted


def load_authors_checkpoint(model: MgNet, path: str | Path) -> None:
    """Load a file of the released code into `model`: what its train_mgnet.py saves, or a state dict.

    .pt, .pth, .pth.tar or .safetensors; the state dict alone or as an entry, also of DataParallel, DistributedDataParallel or
    torch.compile. Tensors only, nothing else is unpickled. Raises ValueError as `from_authors`, and for NaN or infinity.
    """
    state = from_authors(read_state_dict(path), model)
    require_numbers(state, path)
    model.load_state_dict(state)


def checkpoint_filter(state_dict: Mapping[str, Tensor], model: MgNet) -> Mapping[str, Tensor]:
    """What timm applies to pretrained weights: ours pass, the authors' are renamed."""
    return from_authors(state_dict, model) if is_authors_checkpoint(state_dict) else state_dict


def _renamed(model: MgNet) -> Iterator[tuple[str, str]]:
    """Every key of the released code with the key of ours that it belongs to."""
    yield "conv1.weight", "stem.theta.weight"
    yield from _norm("bn1", "stem.sigma")
    for g, nu in enumerate(model.notation.nu):
        if g > 0:
            yield f"layer{g}.0.A_old.weight", f"grids.{g - 1}.A.weight"
            yield f"layer{g}.0.A_conv.weight", f"grids.{g}.A.weight"
            yield f"layer{g}.0.Pi_conv.weight", f"grids.{g}.transfer.Pi.weight"
            yield f"layer{g}.0.R_conv.weight", f"grids.{g}.transfer.R.weight"
            yield from _norm(f"layer{g}.0.bn1", f"grids.{g}.transfer.sigma_Pi")
            yield from _norm(f"layer{g}.0.bn2", f"grids.{g}.transfer.sigma_R")
        for i in range(nu):
            block = f"layer{g}.{i + (g > 0)}"
            yield f"{block}.A.weight", f"grids.{g}.A.weight"
            yield f"{block}.B.weight", f"grids.{g}.B.{0 if model.notation.share_B else i}.weight"
            yield from _norm(f"{block}.bn1", f"grids.{g}.sigma_r.{i}")
            yield from _norm(f"{block}.bn2", f"grids.{g}.sigma_u.{i}")
    yield "fc.weight", "head.fc.weight"
    yield "fc.bias", "head.fc.bias"


def _norm(theirs: str, ours: str) -> Iterator[tuple[str, str]]:
    for name in _NORM:
        yield f"{theirs}.{name}", f"{ours}.{name}"
