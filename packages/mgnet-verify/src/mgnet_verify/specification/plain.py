"""Plain networks: a stem and stages of convolutions, each followed by sigma, halved by strides or by 2x2 max-pools.

The CIFAR ResNets of He et al. 2016 (arXiv:1512.03385, section 4.2) without their shortcuts; VGG (arXiv:1409.1556, table 1).
"""

from __future__ import annotations

from dataclasses import dataclass

from mgnet_verify.specification.operators import Array, add, convolve, max_pool_2x2
from mgnet_verify.specification.outcome import Classifier, Outcome, classified
from mgnet_verify.specification.sigma import Rule, Sigma, channels, evaluate


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerTensors:
    """sigma(K * x + bias) with a kernel (c_out, c_in, k, k) of odd size, and the stride of the convolution."""

    kernel: Array
    sigma: Sigma
    bias: Array | None = None
    stride: int = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class PlainTensors:
    """The stem, the layers of each stage, whether a 2x2 max-pool begins the stage, and the classifier."""

    stem: LayerTensors
    stages: tuple[tuple[LayerTensors, ...], ...]
    pools: tuple[bool, ...]
    head: Classifier


def plain(net: PlainTensors, image: Array, sigma: Rule = evaluate) -> Outcome:
    """Layer by layer."""
    x = layer(net.stem, image, sigma)
    ends = []
    for layers, pools in zip(net.stages, net.pools, strict=True):
        x = max_pool_2x2(x) if pools else x
        for tensors in layers:
            x = layer(tensors, x, sigma)
        ends.append(x)
    return classified(net.head, ends)


def layer(tensors: LayerTensors, x: Array, sigma: Rule) -> Array:
    """sigma(K * x + bias)."""
    y = convolve(tensors.kernel, x, stride=tensors.stride)
    return sigma(tensors.sigma, y if tensors.bias is None else add(y, channels(tensors.bias)))
