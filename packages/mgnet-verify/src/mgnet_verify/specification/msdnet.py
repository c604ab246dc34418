"""Mixed-scale dense networks (Pelt and Sethian 2018): each layer reads every channel before it by a dilated convolution."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mgnet_verify.specification.operators import Array, convolve, max_pool_2x2
from mgnet_verify.specification.outcome import Classifier, Outcome, classified
from mgnet_verify.specification.plain import LayerTensors, layer
from mgnet_verify.specification.sigma import Rule, Sigma, evaluate
from mgnet_verify.specification.sparse_coding import analysis


@dataclass(frozen=True, kw_only=True, eq=False)
class DenseTensors:
    """The filters F (growth, c, 3, 3), their dilation, and the sigma after them."""

    F: Array
    dilation: int
    sigma: Sigma


@dataclass(frozen=True, kw_only=True, eq=False)
class MsdNetTensors:
    """The stem, the layers of each block, the 1x1 convolution (c, c, 1, 1) before each block but the first, the classifier."""

    stem: LayerTensors
    blocks: tuple[tuple[DenseTensors, ...], ...]
    transitions: tuple[Array | None, ...]
    head: Classifier


def msd_net(net: MsdNetTensors, image: Array, sigma: Rule = evaluate) -> Outcome:
    """x <- [x; sigma(F x)] in each layer; a 1x1 convolution and a 2x2 max-pool between blocks."""
    x = layer(net.stem, image, sigma)
    ends = []
    for layers, kernel in zip(net.blocks, net.transitions, strict=True):
        x = x if kernel is None else max_pool_2x2(convolve(kernel, x))
        for dense in layers:
            x = np.concatenate([x, sigma(dense.sigma, analysis(dense.F, x, dilation=dense.dilation))], axis=1)
        ends.append(x)
    return classified(net.head, ends)
