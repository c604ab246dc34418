"""State dicts as people have them: in files of other programs, under the names that wrappers give."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

# The module inside of torch.compile, DistributedDataParallel and DataParallel and averaged models, FSDP, activation
# checkpointing and Lightning Fabric. No module of a network here has such a name.
_WRAPPERS = frozenset({"_orig_mod", "module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module"})
# What training scripts save beside an optimizer: timm's and the averaged weights first, as timm itself takes them.
_ENTRIES = ("state_dict_ema", "model_ema", "state_dict", "model_state_dict", "model", "network", "net", "weights")


def plain_keys(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under the names of the network inside of all wrappers.

    Raises ValueError where two keys become one.
    """
    plain: dict[str, Tensor] = {}
    for key, tensor in state.items():
        name = ".".join(part for part in key.split(".") if part not in _WRAPPERS)
        if name in plain:
            raise ValueError(f"two tensors are named {name!r} when wrappers are left out: save the network inside")
        plain[name] = tensor
    return plain


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """The state dict in a file of PyTorch or safetensors, alone or where a training script puts it, with plain keys.

    Nothing but tensors and plain values is unpickled. Raises ValueError, in one line, for a file that is missing, cannot be
    read, or holds none.
    """
    path = Path(path)
    try:
        saved: Any = load_file(path) if path.suffix == ".safetensors" else torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ValueError(f"no checkpoint at {path}: give a file that torch.save or safetensors wrote") from None
    except (pickle.UnpicklingError, SafetensorError, EOFError, OSError, RuntimeError, ValueError, KeyError, BadZipFile) as error:
        plain = re.sub(r"\x1b\[\d*m", "", str(error))  # PyTorch prints in bold
        reason = (plain.splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{path} cannot be read ({reason}): give a file that torch.save or safetensors wrote") from None
    for entry in _ENTRIES:
        if isinstance(saved, Mapping) and isinstance(saved.get(entry), Mapping):
            saved = saved[entry]
            break
    if not isinstance(saved, Mapping) or not saved or not all(isinstance(tensor, Tensor) for tensor in saved.values()):
        raise ValueError(f"{path} holds no state dict, alone or as {' or '.join(map(repr, _ENTRIES))}: give another file")
    return plain_keys(without_common_prefix(saved))


def without_common_prefix(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors without the name that all keys begin with: the attribute of a module around the network."""
    first = {key.partition(".")[0] for key in state}
    if len(first) == 1 and all("." in key for key in state):
        return without_common_prefix({key.partition(".")[2]: tensor for key, tensor in state.items()})
    return dict(state)


def require_numbers(state: Mapping[str, Tensor], path: str | Path) -> None:
    """Raises ValueError for a tensor with NaN or infinity, which a training that diverged leaves."""
    for key, tensor in state.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"{path}: {key} holds NaN or infinity: the training that wrote it diverged; give another checkpoint")


def misfit(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str:
    """Why a state dict is not one of a network that wants this one, with the first few names; empty if it is."""
    missing, unknown = sorted(wanted.keys() - state.keys()), sorted(state.keys() - wanted.keys())
    if missing or unknown:
        named = [f"lacks {_few(missing)}"] * bool(missing) + [f"has {_few(unknown)}, which the network has not"] * bool(unknown)
        return " and ".join(named)
    for key, tensor in state.items():
        if tensor.shape != wanted[key].shape:
            return f"has {key} of shape {tuple(tensor.shape)}, where the network has {tuple(wanted[key].shape)}"
        if tensor.is_floating_point() != wanted[key].is_floating_point() or tensor.is_complex():
            return f"has {key} of {tensor.dtype}, where the network has {wanted[key].dtype}"
    return ""


def _few(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
