"""Algorithm 1 (pre-act ResNet) and its post-activation twin ResNet, (3.1)-(3.4), with the sharing of (4.6) and (4.7).

Shapes: r (b, c, h, w). A block at i = 0 of a coarse grid pools: it halves the image and has the shortcut R.
"""

from __future__ import annotations

from dataclasses import dataclass

from mgnet_verify.specification.operators import Array, add, convolve, max_pool
from mgnet_verify.specification.outcome import Classifier, Outcome, classified
from mgnet_verify.specification.sigma import Rule, Sigma, evaluate

IDENTITY = Sigma(relu=False)


@dataclass(frozen=True, kw_only=True, eq=False)
class BlockTensors:
    """One block. B^{l,i} is a kernel with its stride, or where it is shared, in a pooling block, a lift and B^l in turn."""

    A: Array
    B: tuple[tuple[Array, int], ...]
    sigma_r: Sigma
    sigma_u: Sigma
    sigma_A: Sigma
    R: Array | None = None
    sigma_R: Sigma = IDENTITY


@dataclass(frozen=True, kw_only=True, eq=False)
class ResNetTensors:
    """A whole network: the stem, the blocks of each grid, the sigma before the pooling, the classifier."""

    theta: Array
    sigma_f: Sigma
    imagenet: bool
    preact: bool
    grids: tuple[tuple[BlockTensors, ...], ...]
    sigma_end: Sigma
    head: Classifier


def algorithm_1(net: ResNetTensors, image: Array, sigma: Rule = evaluate) -> Outcome:
    """r at the end of every grid, and the logits (b, classes)."""
    r = sigma(net.sigma_f, convolve(net.theta, image, stride=2 if net.imagenet else 1))
    r = max_pool(r) if net.imagenet else r
    ends = []
    for blocks in net.grids:
        for block in blocks:
            r = step(block, r, sigma) if net.preact else sigma(Sigma(), step(block, r, sigma))  # (3.1), (3.2) or (3.3), (3.4)
        ends.append(r)
    return classified(net.head, ends, sigma(net.sigma_end, r))


def step(block: BlockTensors, r: Array, sigma: Rule) -> Array:
    """r + A * sigma B * sigma(r), or R *_2 r + A * sigma B *_2 sigma(r); sigma(r) is r itself in ResNet."""
    smoothed = sigma(block.sigma_r, r)
    for kernel, stride in block.B:
        smoothed = convolve(kernel, smoothed, stride=stride)
    s = sigma(block.sigma_u, smoothed)
    shortcut = r if block.R is None else sigma(block.sigma_R, convolve(block.R, r, stride=2))
    return add(shortcut, sigma(block.sigma_A, convolve(block.A, s)))
