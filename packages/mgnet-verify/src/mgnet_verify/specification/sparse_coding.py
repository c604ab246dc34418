"""Convolutional sparse coding in numpy: the dictionary and its transpose, ISTA, FISTA, and the layers built from them.

Shapes: signal x (b, c, h, w), code z (b, atoms, h', w'). D = F^T for a filter bank F (atoms, c, k, k), or D = [I F^T].
Oracle: the second author's lecture on multi-layer sparse coding (2021) for the start of Res-CSC and for [I F^T].
"""

from __future__ import annotations

import numpy as np

from mgnet_verify.specification.operators import Array
from mgnet_verify.specification.sigma import channels, rectify


def windows(size: tuple[int, int], k: int, stride: int, dilation: int) -> tuple[int, int, int]:
    """Output height and width and the padding of a k x k filter that is centered for odd k."""
    padding = dilation * (k - 1) // 2
    h, w = ((n + 2 * padding - dilation * (k - 1) - 1) // stride + 1 for n in size)
    return h, w, padding


def analysis(F: Array, x: Array, *, stride: int = 1, dilation: int = 1) -> Array:
    """D^T x = F x."""
    k = F.shape[2]
    h, w, p = windows((x.shape[2], x.shape[3]), k, stride, dilation)
    padded = np.pad(x, ((0, 0), (0, 0), (p, p), (p, p)))
    z = np.zeros((x.shape[0], h, w, F.shape[0]), dtype=np.result_type(F, x))
    for i in range(k):
        for j in range(k):
            rows, columns = _taps(i, h, stride, dilation), _taps(j, w, stride, dilation)
            z += np.tensordot(padded[:, :, rows, columns], F[:, :, i, j], axes=(1, 1))
    return z.transpose(0, 3, 1, 2)


def synthesis(F: Array, z: Array, size: tuple[int, int], *, stride: int = 1, dilation: int = 1) -> Array:
    """D z = F^T z on a signal of `size`: every entry of the code lays its filter down where `analysis` read it."""
    k = F.shape[2]
    h, w, p = windows(size, k, stride, dilation)
    padded = np.zeros((z.shape[0], F.shape[1], size[0] + 2 * p, size[1] + 2 * p), dtype=np.result_type(F, z))
    for i in range(k):
        for j in range(k):
            rows, columns = _taps(i, h, stride, dilation), _taps(j, w, stride, dilation)
            padded[:, :, rows, columns] += np.tensordot(z, F[:, :, i, j], axes=(1, 0)).transpose(0, 3, 1, 2)
    return padded[:, :, p : p + size[0], p : p + size[1]]


def _taps(offset: int, count: int, stride: int, dilation: int) -> slice:
    return slice(offset * dilation, offset * dilation + stride * (count - 1) + 1, stride)


def threshold(v: Array, b: Array) -> Array:
    """S+_b(v) = ReLU(v + b), with b = -beta c: the nonnegative soft threshold, as the networks write it."""
    return rectify(v + channels(b))


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
