"""Which network to train, by a timm name or by the paper's notation, and making it with reproducible weights."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import timm
import torch
from torch import Tensor, nn

import mgnet_models
from mgnet_models.nn.classifier import InitScheme, Network
from mgnet_records.datasets import DataSetInfo
from mgnet_records.errors import InputError, unknown
from mgnet_train.config.execution import Form, Recompute
from mgnet_train.data.rng import stream_seed

_DATA = "the data set decides it"
_WEIGHTS = "training starts from initial weights, which the recipe draws"
_CLASSIFIER = "a classifier is trained"
_EXECUTION = "the execution decides how a network is computed"
_NAME = "the name of the model decides it"
# Arguments of timm.create_model and of what it calls that are not the caller's, each with the reason.
NOT_GIVEN = {
    **dict.fromkeys(("in_chans", "num_classes", "img_size"), _DATA),
    **dict.fromkeys(
        (
            "pretrained",
            "pretrained_cfg",
            "pretrained_cfg_overlay",
            "pretrained_strict",
            "pretrained_filter_fn",
            "pretrained_model_args",
            "checkpoint_path",
            "cache_dir",
        ),
        _WEIGHTS,
    ),
    **dict.fromkeys(("features_only", "out_indices", "feature_cfg", "feature_cls", "output_stride", "pruned"), _CLASSIFIER),
    **dict.fromkeys(("scriptable", "exportable", "no_jit", "device", "dtype"), _EXECUTION),
    **dict.fromkeys(("model_name", "model_cls", "model_cfg", "kwargs_filter"), _NAME),
}


@dataclass(frozen=True, kw_only=True)
class NetworkSpec:
    """A network as a value: `name` is what people read, `entry` and `args` are what `timm.create_model` takes."""

    name: str
    entry: str
    args: dict[str, Any]

    def make(self, init: InitScheme, seed: int) -> nn.Module:
        """The network with its initial weights; the same scheme and seed give the same weights.

        `init` is a recipe's: "kaiming" or "torch". Raises InputError for arguments that the network does not take.
        """
        torch.manual_seed(stream_seed(seed, "weights"))
        try:
            network = timm.create_model(self.entry, **self.args)
        except (TypeError, ValueError) as error:
            raise InputError(f"model {self.entry!r} does not take {self.args}: {error}") from None
        if isinstance(network, Network):
            network.init_weights(init)
        else:
            _initialize(network, init)
        return network


class FeatureForm(nn.Module):
    """A MgNet whose forward pass runs the feature iteration (3.5) as written, instead of the residual iteration (4.5)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network.forward_feature_form(images)  # type: ignore[operator]


def find_network(text: str, *, in_chans: int, num_classes: int, extra: dict[str, Any] | None = None) -> NetworkSpec:
    """The network for a name that timm knows, or for the notation `MgNet[2,2]-[32]-B^l`, which covers every MgNet.

    `extra` holds further arguments of `timm.create_model`, such as a width. Raises InputError for malformed notation, for an
    argument that is not the caller's and, with near names, for a name that does not exist.
    """
    is_notation = "[" in text
    decided = NOT_GIVEN | dict.fromkeys(_said_by(text), _NAME)
    for name in extra or {}:
        if name in decided:
            raise InputError(f"model argument {name} cannot be given: {decided[name]}, so leave it out")
    args: dict[str, Any] = {**(extra or {}), "in_chans": in_chans, "num_classes": num_classes}
    if is_notation:
        return _of_notation(text, args)
    if not timm.is_model(text):
        raise _unknown_name(text)
    return NetworkSpec(name=text, entry=text, args=args)


def executed_form(network: nn.Module, form: Form) -> nn.Module:
    """The network as a callable in the residual or the feature form. Raises InputError for a network that has one form only."""
    if form == "residual":
        return network
    if not hasattr(network, "forward_feature_form"):
        raise InputError(f"form=feature: {type(network).__name__} has one form only, use form=residual")
    return FeatureForm(network)


def set_recompute(network: nn.Module, mode: Recompute) -> None:
    """Set what a MgNet computes again in the backward pass. Raises InputError for a network that has no such modes."""
    if mode == "none":
        return
    if not isinstance(network, mgnet_models.MgNet):
        raise InputError(f"recompute={mode}: {type(network).__name__} has no recompute modes, use recompute=none")
    try:
        network.set_recompute(mode)
    except ValueError as error:
        raise InputError(str(error)) from None


def notation_of(network: nn.Module) -> str | None:
    """The paper's notation (3.8), or None for a network that is no MgNet."""
    return str(network.notation) if isinstance(network, mgnet_models.MgNet) else None


def check_size(network: nn.Module, size: tuple[int, int]) -> None:
    """Raise InputError when images of (height, width) pixels are too small for the number of grids."""
    if isinstance(network, mgnet_models.MgNet):
        try:
            mgnet_models.check_image_size(network.notation, network.stem_kind, size)
        except ValueError as error:
            raise InputError(str(error)) from None


def check_fits(network: nn.Module, data: DataSetInfo, size: tuple[int, int], *, what: str) -> None:
    """Raise InputError when the network cannot classify images of a data set, of (height, width) pixels. `what` names it.

    One image goes through it in eval mode, which changes nothing in it.
    """
    channels, own = data.input_size[0], "name its own data set with --data"
    found = getattr(network, "num_classes", data.num_classes)
    if found != data.num_classes:
        raise InputError(f"{what} distinguishes {found} classes and {data.key} has {data.num_classes}: {own}")
    was_training = network.training
    try:
        with torch.no_grad():
            logits = network.eval()(torch.zeros(1, channels, *size))
    except (RuntimeError, ValueError, IndexError, TypeError, AssertionError) as error:
        first = next((module for module in network.modules() if isinstance(module, nn.Conv2d)), None)
        if first is not None and first.in_channels != channels:
            raise InputError(f"{what} takes images of {first.in_channels} channels and {data.key} has {channels}: {own}") from None
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"{what} cannot take images of {data.key}, {channels} x {size[0]} x {size[1]}: {reason}") from None
    finally:
        network.train(was_training)
    shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    if shape != (1, data.num_classes):
        raise InputError(f"{what} gives {shape} for an image, not {data.num_classes} logits: use another network")


def parameters_of(network: nn.Module) -> int:
    """How many numbers the parameters of the network hold; running statistics are none."""
    return sum(parameter.numel() for parameter in network.parameters())


def _said_by(text: str) -> tuple[str, ...]:
    """The arguments of a MgNet that its name says; given beside it they would be overruled without a word."""
    if "[" in text:
        return ("notation",)
    try:
        mgnet_models.Notation.from_timm_name(text)
    except ValueError:
        return ()
    return ("notation", "stem")


def _of_notation(text: str, args: dict[str, Any]) -> NetworkSpec:
    try:
        notation = mgnet_models.Notation.parse(text)
    except ValueError as error:
        raise InputError(str(error)) from None
    stem = args.pop("stem", "cifar")
    if stem not in ("cifar", "imagenet"):
        raise InputError(f"stem={stem!r} is unknown: use cifar or imagenet")
    name = notation.timm_name(stem)
    if timm.is_model(name):
        return NetworkSpec(name=name, entry=name, args=args)
    return NetworkSpec(name=name, entry="mgnet", args={"notation": str(notation), "stem": stem, **args})


def _unknown_name(text: str) -> InputError:
    example = "MgNet[2,2]-[32]-B^l"
    with suppress(ValueError):
        example = str(mgnet_models.Notation.from_timm_name(text)[0])
    hint = f' Any MgNet without a name is written in the notation, as "{example}"' if text.startswith("mgnet") else ""
    return InputError(f"{unknown('model', text, timm.list_models())}{hint}")


def _initialize(network: nn.Module, init: InitScheme) -> None:
    """For a network of timm's own, which keeps its initialization but for the convolutions."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            if init == "torch":
                module.reset_parameters()
            else:
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
