"""Which network to train, and making it: by a timm name or by the paper's notation, with a keyed start."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

import timm
import torch
from torch import Tensor, nn

import mgnet_models
from mgnet_train.errors import UserError, near, unknown
from mgnet_train.keyed import key
from mgnet_train.recipe import Recipe


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
    """The network for a timm name, a MgNet name of any size, or the notation `MgNet[2,2]-[32]-B^l`.

    `extra` holds further arguments of `timm.create_model`, as a width. Raises UserError for malformed notation and, with
    near names, for a name that does not exist.
    """
    args: dict[str, Any] = {**(extra or {}), "in_chans": in_chans, "num_classes": num_classes}
    if timm.is_model(text):
        return Network(name=text, entry=text, args=args)
    notation, stem = _notation(text)
    name = notation.timm_name(stem)
    if timm.is_model(name):
        return Network(name=name, entry=name, args=args)
    return Network(name=name, entry="mgnet", args={"notation": str(notation), "stem": stem, **args})


def executed_form(network: nn.Module, form: str) -> nn.Module:
    """The network as a callable in the residual or the literal form."""
    if form == "residual":
        return network
    if not hasattr(network, "forward_literal"):
        raise UserError(f"form=literal asked for, but {type(network).__name__} has one form only: use form=residual")
    return LiteralForm(network)


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


def _notation(text: str) -> tuple[mgnet_models.Notation, Literal["cifar", "imagenet"]]:
    try:
        if "[" in text:
            return mgnet_models.Notation.parse(text), "cifar"
        if re.match(r"mgnet_\d", text):
            return mgnet_models.Notation.from_timm_name(text)
    except ValueError as error:
        hint = "" if "[" in text else f"; {near(text, timm.list_models('*mgnet*'))}"
        raise UserError(f"{error}{hint}") from None
    raise unknown("model", text, timm.list_models())


def _start_convolution(convolution: nn.Conv2d, init: str) -> None:
    if init == "torch":
        convolution.reset_parameters()
    else:
        nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
