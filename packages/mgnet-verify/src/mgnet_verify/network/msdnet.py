"""Mixed-scale dense networks as this project builds them."""

from __future__ import annotations

from typing import Any

from torch import nn

from mgnet_verify.network.plain import layer_tensors
from mgnet_verify.network.protocol import InputLimits, array
from mgnet_verify.network.subject import Reading, SpecifiedFamily, classifier_of, register
from mgnet_verify.specification.msdnet import DenseTensors, MsdNetTensors, msd_net


def _is_dense(layer: nn.Module) -> bool:
    return hasattr(layer, "F") and hasattr(layer, "sigma")


def _is_msdnet(model: nn.Module) -> bool:
    layers = [layer for stage in getattr(model, "grids", []) if isinstance(stage, nn.Sequential) for layer in stage]
    return bool(layers) and all(_is_dense(layer) or hasattr(layer, "transition") for layer in layers)


def _read(model: Any, reading: Reading) -> MsdNetTensors:
    """The dilations are 1, 2 ... in turn: those of the module are what is checked."""
    stem = layer_tensors(model.stem, "the stem", reading)
    blocks, transitions = [], []
    for number, stage in enumerate(model.grids, start=1):
        layers = [layer for layer in stage if _is_dense(layer)]
        dense = (
            DenseTensors(
                F=array(layer.F.weight),
                dilation=i % model.dilations + 1,
                sigma=reading.sigma(f"layer {i + 1}, grid {number}", layer.sigma),
            )
            for i, layer in enumerate(layers)
        )
        blocks.append(tuple(dense))
        transitions.append(None if _is_dense(stage[0]) else array(stage[0].transition.weight))
    return MsdNetTensors(stem=stem, blocks=tuple(blocks), transitions=tuple(transitions), head=classifier_of(model))


def _limits(model: Any) -> InputLimits:
    return InputLimits(channels=model.stem.theta.in_channels, smallest=2 ** (len(model.grids) - 1))


register(SpecifiedFamily(name="msdnet", matches=_is_msdnet, limits=_limits, read=_read, specify=msd_net))
