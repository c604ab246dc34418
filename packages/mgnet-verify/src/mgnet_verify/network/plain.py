"""Plain networks as this project builds them: CIFAR ResNets without shortcuts, and small AlexNet and VGG."""

from __future__ import annotations

from typing import Any

from torch import nn

from mgnet_verify.network.protocol import InputLimits, array
from mgnet_verify.network.subject import Reading, SpecifiedFamily, classifier_of, register
from mgnet_verify.specification.plain import LayerTensors, PlainTensors, plain


def layer_tensors(layer: Any, place: str, reading: Reading, *, stride: int = 1) -> LayerTensors:
    """A convolution `conv`, or `theta` of a stem, and the `sigma` after it."""
    convolution = getattr(layer, "conv", None) or layer.theta
    bias = None if convolution.bias is None else array(convolution.bias)
    sigma = reading.sigma(place, layer.sigma)
    return LayerTensors(kernel=array(convolution.weight), sigma=sigma, bias=bias, stride=stride)


def _is_layer(module: nn.Module) -> bool:
    return hasattr(module, "conv") and hasattr(module, "sigma")


def _is_plain(model: nn.Module) -> bool:
    """Stages of layers with sigma; the stem of the one kind is `theta`, that of the other a layer."""
    stages = [list(stage) for stage in getattr(model, "grids", []) if isinstance(stage, nn.Sequential)]
    layers = [layer for stage in stages for layer in stage]
    only_layers = bool(layers) and all(_is_layer(layer) or type(layer) is nn.MaxPool2d for layer in layers)
    stem: Any = getattr(model, "stem", None)
    return only_layers and len(stages) == len(model.grids) and (hasattr(stem, "theta") or _is_layer(stem))  # type: ignore[arg-type]


def _read(model: Any, reading: Reading) -> PlainTensors:
    """Without max-pools each stage but the first halves the image in its first convolution."""
    by_pooling = _is_layer(model.stem)
    stem = layer_tensors(model.stem, "the stem", reading, stride=model.stem.conv.stride[0] if by_pooling else 1)
    stages = []
    for number, stage in enumerate(model.grids):
        layers = [layer for layer in stage if _is_layer(layer)]
        stages.append(
            tuple(
                layer_tensors(
                    layer,
                    f"layer {i + 1}, grid {number + 1}",
                    reading,
                    stride=2 if not by_pooling and number > 0 and i == 0 else 1,
                )
                for i, layer in enumerate(layers)
            )
        )
    pools = tuple(isinstance(stage[0], nn.MaxPool2d) for stage in model.grids)
    return PlainTensors(stem=stem, stages=tuple(stages), pools=pools, head=classifier_of(model, largest=by_pooling))


def _limits(model: Any) -> InputLimits:
    """An odd number of pixels is enough for strides, max-pools of 2x2 need even ones at the end."""
    stem: nn.Conv2d = model.stem.conv if _is_layer(model.stem) else model.stem.theta
    return InputLimits(channels=stem.in_channels, smallest=model.feature_info[-1]["reduction"])


register(SpecifiedFamily(name="plain", matches=_is_plain, limits=_limits, read=_read, specify=plain))
