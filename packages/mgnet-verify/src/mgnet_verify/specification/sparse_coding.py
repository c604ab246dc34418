"""Convolutional sparse coding in numpy: the dictionary and its transpose, ISTA, FISTA, and the networks built from them.

Shapes: signal x (b, c, h, w), code z (b, atoms, h', w'). D = F^T for a filter bank F (atoms, c, k, k), or D = [I F^T].
Oracle: the second author's lecture on multi-layer sparse coding (2021) for the start of Res-CSC and for [I F^T].
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from mgnet_verify.specification.exactness import stored
from mgnet_verify.specification.operators import (
    Array,
    add,
    bilinear,
    claim_products,
    convolve,
    max_pool_2x2,
    nonzero_block,
    scale,
    subtract,
)
from mgnet_verify.specification.outcome import Classifier, Outcome, classified
from mgnet_verify.specification.plain import LayerTensors, layer
from mgnet_verify.specification.sigma import Rule, Sigma, channels, evaluate, rectify


def windows(size: tuple[int, int], k: int, stride: int, dilation: int) -> tuple[int, int, int]:
    """Output height and width and the padding of a k x k filter that is centered for odd k."""
    padding = dilation * (k - 1) // 2
    h, w = ((n + 2 * padding - dilation * (k - 1) - 1) // stride + 1 for n in size)
    return h, w, padding


def analysis(F: Array, x: Array, *, stride: int = 1, dilation: int = 1) -> Array:
    """D^T x = F x."""
    claim_products(F, x, lambda kernel: float(np.abs(kernel).sum(axis=(1, 2, 3)).max()))
    return stored(bilinear(lambda kernel, signal: _analysis(kernel, signal, stride, dilation), F, x))


def _analysis(F: Array, x: Array, stride: int, dilation: int) -> Array:
    k = F.shape[2]
    h, w, p = windows((x.shape[2], x.shape[3]), k, stride, dilation)
    padded = np.pad(x, ((0, 0), (0, 0), (p, p), (p, p)))
    z = np.zeros((x.shape[0], h, w, F.shape[0]), dtype=np.result_type(F, x))
    for i in range(k):
        for j in range(k):
            rows, columns = _taps(i, h, stride, dilation), _taps(j, w, stride, dilation)
            atoms, signal = nonzero_block(F[:, :, i, j])
            z[..., atoms] += np.tensordot(padded[:, signal, rows, columns], F[:, :, i, j][np.ix_(atoms, signal)], axes=(1, 1))
    return z.transpose(0, 3, 1, 2)


def synthesis(F: Array, z: Array, size: tuple[int, int], *, stride: int = 1, dilation: int = 1) -> Array:
    """D z = F^T z on a signal of `size`: every entry of the code lays its filter down where `analysis` read it."""
    claim_products(F, z, lambda kernel: float(np.abs(kernel).sum(axis=(0, 2, 3)).max()))
    return stored(bilinear(lambda kernel, code: _synthesis(kernel, code, size, stride, dilation), F, z))


def _synthesis(F: Array, z: Array, size: tuple[int, int], stride: int, dilation: int) -> Array:
    k = F.shape[2]
    h, w, p = windows(size, k, stride, dilation)
    padded = np.zeros((z.shape[0], F.shape[1], size[0] + 2 * p, size[1] + 2 * p), dtype=np.result_type(F, z))
    for i in range(k):
        for j in range(k):
            rows, columns = _taps(i, h, stride, dilation), _taps(j, w, stride, dilation)
            atoms, signal = nonzero_block(F[:, :, i, j])
            laid = np.tensordot(z[:, atoms], F[:, :, i, j][np.ix_(atoms, signal)], axes=(1, 0)).transpose(0, 3, 1, 2)
            padded[:, signal, rows, columns] += laid
    return padded[:, :, p : p + size[0], p : p + size[1]]


def _taps(offset: int, count: int, stride: int, dilation: int) -> slice:
    return slice(offset * dilation, offset * dilation + stride * (count - 1) + 1, stride)


def threshold(v: Array, b: Array) -> Array:
    """S+_b(v) = ReLU(v + b), with b = -beta c: the nonnegative soft threshold, as the networks write it."""
    return rectify(add(v, channels(b)))


def soft_threshold(v: Array, beta: float) -> Array:
    """S_beta(v) = sign(v) max(|v| - beta, 0)."""
    return np.sign(v) * np.maximum(np.abs(v) - beta, 0)


def ista_step(F: Array, z: Array, x: Array, c: float, b: Array) -> Array:
    """S+_b(z - c D^T (D z - x))."""
    return threshold(z - c * analysis(F, synthesis(F, z, (x.shape[2], x.shape[3])) - x), b)


def pursuit(F: Array, x: Array, c: float, b: Array, *, unfold: int, momentum: list[float]) -> Array:
    """The code after one step from zero and `unfold` more, each from z + momentum (z - z before): FISTA, or ISTA with zeros."""
    z = threshold(c * analysis(F, x), b)
    before = z
    for t in range(1, unfold + 1):
        z, before = ista_step(F, z + momentum[t] * (z - before), x, c, b), z
    return z


def res_csc_block(D_1: Array, D_2: Array, u: Array, c: float, b1: Array, b2: Array) -> Array:
    """Res-CSC by the four convolutions of its figure: ReLU(u + c D2^T f - c D2^T D2 u + b2), f = ReLU(D1^T u + b1)."""
    f = threshold(analysis(D_1, u), b1)
    size = (f.shape[2], f.shape[3])
    return threshold(u + c * analysis(D_2, f) - c * analysis(D_2, synthesis(D_2, u, size)), b2)


@dataclass(frozen=True, kw_only=True, eq=False)
class ResCscBlockTensors:
    """D1 and D2 (atoms, c, 3, 3), their steps (1,), the stride, and whether the term D2 u is there.

    `norms_f[t]` and `norms_u[t]` follow D1^T and D2^T in step t, whose momentum is `momentum[t]`. c_f is None, for 1, where none
    is learned.
    """

    D1: Array
    D2: Array
    c_f: Array | None
    c: Array
    norms_f: tuple[Sigma, ...]
    norms_u: tuple[Sigma, ...]
    momentum: tuple[float, ...]
    stride: int
    corrects: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class ResCscTensors:
    """The stem, the blocks of each stage, the classifier."""

    stem: LayerTensors
    stages: tuple[tuple[ResCscBlockTensors, ...], ...]
    head: Classifier


def res_csc(net: ResCscTensors, image: Array, sigma: Rule = evaluate) -> Outcome:
    """Blocks of two pursuits: f codes u from zero by D1, then u codes f by D2, from u subsampled and padded with zero channels."""
    u = layer(net.stem, image, sigma)
    ends = []
    for blocks in net.stages:
        for block in blocks:
            f = _code_of_block(block, u, sigma)
            u = u[:, :, :: block.stride, :: block.stride]
            u = before = np.pad(u, ((0, 0), (0, f.shape[1] - u.shape[1]), (0, 0), (0, 0)))
            for norm, momentum in zip(block.norms_u, block.momentum, strict=True):
                y = _ahead(u, before, momentum)
                r = subtract(f, synthesis(block.D2, y, (f.shape[2], f.shape[3]))) if block.corrects else f
                before, u = u, rectify(add(y, scale(block.c, sigma(norm, analysis(block.D2, r)))))
        ends.append(u)
    return classified(net.head, ends)


def _code_of_block(block: ResCscBlockTensors, x: Array, sigma: Rule) -> Array:
    """f = ReLU(c_f N(D1^T x)), then f <- ReLU(f + c_f N(D1^T (x - D1 f))) for each unfolding."""
    f = before = rectify(_scaled(block.c_f, sigma(block.norms_f[0], convolve(block.D1, x, stride=block.stride))))
    for norm, momentum in zip(block.norms_f[1:], block.momentum[1:], strict=True):
        y = _ahead(f, before, momentum)
        r = subtract(x, synthesis(block.D1, y, (x.shape[2], x.shape[3]), stride=block.stride))
        before, f = f, rectify(add(y, _scaled(block.c_f, sigma(norm, convolve(block.D1, r, stride=block.stride)))))
    return f


def _scaled(c: Array | None, x: Array) -> Array:
    return x if c is None else scale(c, x)


@dataclass(frozen=True, kw_only=True, eq=False)
class CodingTensors:
    """One layer: the filters F (atoms, c, k, k), D = [I F^T] with `identity` or D = F^T, the step c (1,), thresholds b (c_code,).

    `norms` has a normalization for each unfolding, of all coordinates but the first `kept`, and `gain` its weights; both are
    empty for a layer without normalization.
    """

    F: Array
    c: Array
    b: Array
    stride: int
    dilation: int
    identity: bool
    norms: tuple[Sigma, ...]
    gain: Array | None
    kept: int

    def code(self, x: Array) -> Array:
        """D^T x."""
        z = analysis(self.F, x, stride=self.stride, dilation=self.dilation)
        return np.concatenate([x, z], axis=1) if self.identity else z

    def signal(self, z: Array, size: tuple[int, int]) -> Array:
        """D z."""
        atoms = len(self.F)
        g = z[:, z.shape[1] - atoms :]
        x = synthesis(self.F, g, size, stride=self.stride, dilation=self.dilation)
        return add(z[:, : z.shape[1] - atoms], x) if self.identity else x

    def threshold(self, t: int, v: Array, sigma: Rule) -> Array:
        """S+_b of v, normalized with the statistics of unfolding t."""
        if self.gain is not None:
            normalized = scale(channels(self.gain), sigma(self.norms[t], v[:, self.kept :]))
            v = np.concatenate([v[:, : self.kept], normalized], axis=1)
        return threshold(v, self.b)

    def step(self, t: int, z: Array, x: Array, sigma: Rule) -> Array:
        """S+_b(z - c D^T (D z - x))."""
        r = subtract(self.signal(z, (x.shape[2], x.shape[3])), x)
        return self.threshold(t, subtract(z, scale(self.c, self.code(r))), sigma)


@dataclass(frozen=True, kw_only=True, eq=False)
class PursuitTensors:
    """A chain of dictionaries, x = D_1 z_1, z_1 = D_2 z_2 ..., with `unfold` steps beyond the first, layer by layer or global.

    `momentum[t]` is that of unfolding t, 0 for ISTA.
    """

    layers: tuple[CodingTensors, ...]
    unfold: int
    is_global: bool
    momentum: tuple[float, ...]


def pursue(net: PursuitTensors, x: Array, sigma: Rule = evaluate) -> Array:
    """The code of the last layer for the signal x, by layered basis pursuit or by multi-layer (F)ISTA."""
    codes = [x]
    for tensors in net.layers:
        z = tensors.threshold(0, scale(tensors.c, tensors.code(codes[-1])), sigma)
        codes.append(z if net.is_global else _layered(net, tensors, z, codes[-1], sigma))
    if not net.is_global:
        return codes[-1]
    before = codes[-1]
    for t in range(1, net.unfold + 1):
        deepest = codes[-1]
        codes[-1] = _ahead(deepest, before, net.momentum[t])
        before = deepest
        for i in range(len(net.layers) - 1, 0, -1):  # top-down: what each deeper code stands for
            codes[i] = net.layers[i].signal(codes[i + 1], (codes[i].shape[2], codes[i].shape[3]))
        for i, tensors in enumerate(net.layers):
            codes[i + 1] = tensors.step(t, codes[i + 1], codes[i], sigma)
    return codes[-1]


def _layered(net: PursuitTensors, tensors: CodingTensors, z: Array, x: Array, sigma: Rule) -> Array:
    before = z
    for t in range(1, net.unfold + 1):
        z, before = tensors.step(t, _ahead(z, before, net.momentum[t]), x, sigma), z
    return z


def _ahead(z: Array, before: Array, momentum: float) -> Array:
    return add(z, scale(np.array(momentum), subtract(z, before))) if momentum else z


def momentum_of_fista(unfold: int) -> list[float]:
    """0 for the start, then (t_{k-1} - 1) / t_k with t_0 = 1, t_k = (1 + sqrt(1 + 4 t_{k-1}^2)) / 2 (Beck and Teboulle 2009)."""
    t = [1.0]
    for _ in range(unfold):
        t.append((1 + np.sqrt(1 + 4 * t[-1] ** 2)) / 2)
    return [0.0] + [(before - 1) / after for before, after in pairwise(t)]


@dataclass(frozen=True, kw_only=True, eq=False)
class MsdCscTensors:
    """The stem, the pursuit of each block, the 1x1 kernel that leads into it (None for the first), the classifier."""

    stem: LayerTensors
    blocks: tuple[PursuitTensors, ...]
    transitions: tuple[Array | None, ...]
    head: Classifier


def msd_csc(net: MsdCscTensors, image: Array, sigma: Rule = evaluate) -> Outcome:
    """A pursuit for each block; between blocks a 1x1 convolution and a 2x2 max-pool."""
    x = layer(net.stem, image, sigma)
    ends = []
    for pursuit_tensors, kernel in zip(net.blocks, net.transitions, strict=True):
        x = x if kernel is None else max_pool_2x2(convolve(kernel, x))
        x = pursue(pursuit_tensors, x, sigma)
        ends.append(x)
    return classified(net.head, ends)


@dataclass(frozen=True, kw_only=True, eq=False)
class MlCscTensors:
    """The pursuit of the image, the layers of each plain stage, the classifier."""

    pursuit: PursuitTensors
    stages: tuple[tuple[LayerTensors, ...], ...]
    head: Classifier


def ml_csc(net: MlCscTensors, image: Array, sigma: Rule = evaluate) -> Outcome:
    """The deepest code, read by plain stages with a 2x2 max-pool between them."""
    x = pursue(net.pursuit, image, sigma)
    ends: list[Array] = []
    for layers in net.stages:
        x = max_pool_2x2(x) if ends else x
        for tensors in layers:
            x = layer(tensors, x, sigma)
        ends.append(x)
    return classified(net.head, ends)
