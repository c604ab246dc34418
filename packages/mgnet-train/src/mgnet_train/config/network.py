"""Which network to train, and making it: by a timm name or by the paper's notation, with a keyed start."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import timm
import torch
from torch import Tensor, nn

import mgnet_models
from mgnet_models.runtime.recompute import MemoryMode
from mgnet_train.config.recipe import Recipe
from mgnet_train.data.rng import key
from mgnet_train.errors import UserError, unknown


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network as a value: `name` is what people read, `entry` and `args` what `timm.create_model` takes."""

    name: str
    entry: str
    args: dict[str, Any]

    def make(self, recipe: Recipe, seed: int) -> nn.Module:
        """The network at its start; the same seed gives the same weights."""
        torch.manual_seed(key(seed, "weights"))
        try:
            made = timm.create_model(self.entry, **self.args)
        except (TypeError, ValueError) as error:
            raise UserError(f"model {self.entry!r} does not take {self.args}: {' '.join(str(error).split())}") from None
        for module in made.modules():
            if isinstance(module, nn.Conv2d):
                _start_convolution(module, recipe.init)
        return made


class LiteralForm(nn.Module):
    """A MgNet whose forward runs the feature iteration (3.5) as written, instead of the residual iteration (4.5)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network.forward_literal(images)  # type: ignore[operator]


def find_network(text: str, *, in_chans: int, num_classes: int, extra: dict[str, Any] | None = None) -> Network:
    """The network for a name that timm knows, or for the notation `MgNet[2,2]-[32]-B^l`, which covers every MgNet.

    `extra` holds further arguments of `timm.create_model`, as a width. Raises UserError for malformed notation and, with
    near names, for a name that does not exist.
    """
    args: dict[str, Any] = {**(extra or {}), "in_chans": in_chans, "num_classes": num_classes}
    if "[" in text:
        return _of_notation(text, args)
    if not timm.is_model(text):
        raise _unknown_name(text)
    return Network(name=text, entry=text, args=args)


def executed_form(network: nn.Module, form: str) -> nn.Module:
    """The network as a callable in the residual or the literal form."""
    if form == "residual":
        return network
    if not hasattr(network, "forward_literal"):
        raise UserError(f"form=literal asked for, but {type(network).__name__} has one form only: use form=residual")
    return LiteralForm(network)


def keep_for_backward(network: nn.Module, memory: MemoryMode) -> None:
    """Set what a MgNet keeps for the backward pass. Raises UserError for a network that has no such modes."""
    if memory == "default":
        return
    if not isinstance(network, mgnet_models.MgNet):
        raise UserError(f"memory={memory} asked for, but {type(network).__name__} has no memory modes: use memory=default")
    try:
        network.set_memory_mode(memory)
    except ValueError as error:
        raise UserError(str(error)) from None


def notation_of(network: nn.Module) -> str | None:
    """The paper's notation (3.8), or None for a network that is no MgNet."""
    return str(network.notation) if isinstance(network, mgnet_models.MgNet) else None


def check_size(network: nn.Module, size: tuple[int, int]) -> None:
    """Raise UserError when images of (height, width) pixels are too small for the number of grids."""
    if isinstance(network, mgnet_models.MgNet):
        try:
            mgnet_models.check_image_size(network.notation, network.stem_kind, size)
        except ValueError as error:
            raise UserError(str(error)) from None


def parameters_of(network: nn.Module) -> int:
    """How many trained numbers the network has."""
    return sum(parameter.numel() for parameter in network.parameters())


def _of_notation(text: str, args: dict[str, Any]) -> Network:
    try:
        notation = mgnet_models.Notation.parse(text)
    except ValueError as error:
        raise UserError(str(error)) from None
    stem = args.pop("stem", "cifar")
    if stem not in ("cifar", "imagenet"):
        raise UserError(f"stem={stem!r} is unknown: use cifar or imagenet")
    name = notation.timm_name(stem)
    if timm.is_model(name):
        return Network(name=name, entry=name, args=args)
    return Network(name=name, entry="mgnet", args={"notation": str(notation), "stem": stem, **args})


def _unknown_name(text: str) -> UserError:
    example = "MgNet[2,2]-[32]-B^l"
    with suppress(ValueError):
        example = str(mgnet_models.Notation.from_timm_name(text)[0])
    hint = f' Any MgNet without a name is written in the notation, as "{example}"' if text.startswith("mgnet") else ""
    return UserError(f"{unknown('model', text, timm.list_models())}{hint}")


def _start_convolution(convolution: nn.Conv2d, init: str) -> None:
    if init == "torch":
        convolution.reset_parameters()
    else:
        nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
