"""The linear operators of the paper on numpy arrays: `*`, `*_2`, the two poolings. Any dtype, none converted.

Shapes: fields (b, c, h, w); kernels (c_out, c_in, k_h, k_w), odd k. Zero padding keeps odd kernels centered, so that
stride 1 keeps the size and stride 2 halves it, rounding up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mgnet_verify.specification.exactness import claim, claim_apart, is_guarded, stored

Array = NDArray[Any]

# The imaginary unit of dual numbers (see tangent.py): its square underflows to 0.
DUAL_STEP = 2.0**-600


def magnitude(x: Array) -> float:
    """max |x|, 0 for an empty array."""
    return float(np.abs(x).max()) if x.size else 0.0


def _row_sum(kernel: Array) -> float:
    """max over output channels of ||K_o||_1, (c_out, c_in, k_h, k_w)."""
    return float(np.abs(kernel).sum(axis=(1, 2, 3)).max())


def convolve(kernel: Array, x: Array, *, stride: int = 1) -> Array:
    """K * x for stride 1, K *_2 x for stride 2: (b, c_in, h, w) -> (b, c_out, ceil(h/stride), ceil(w/stride)).

    out[n, o, y, x] = sum over c, i, j of K[o, c, i, j] in[n, c, stride y + i - (k_h-1)/2, stride x + j - (k_w-1)/2].
    Exactness bound: an output adds at most ||K_o||_1 max|x|.
    """
    claim_products(kernel, x, _row_sum)
    return stored(bilinear(lambda k, y: _convolve(k, y, stride), kernel, x))


def bilinear(product: Callable[[Array, Array], Array], kernel: Array, x: Array) -> Array:
    """A product of real arrays, for dual numbers by the product rule: the square of the infinitesimal is 0."""
    if not (np.iscomplexobj(kernel) or np.iscomplexobj(x)):
        return product(kernel, x)
    tangent = product(np.real(kernel), np.imag(x))
    if np.iscomplexobj(kernel):
        tangent = tangent + product(np.imag(kernel), np.real(x))
    return product(np.real(kernel), np.real(x)) + 1j * tangent


def _convolve(kernel: Array, x: Array, stride: int) -> Array:
    k_h, k_w = kernel.shape[2:]
    h, w = -(-x.shape[2] // stride), -(-x.shape[3] // stride)
    padded = np.pad(x, ((0, 0), (0, 0), (k_h // 2, k_h // 2), (k_w // 2, k_w // 2)))
    out = np.zeros((x.shape[0], h, w, kernel.shape[0]), dtype=np.result_type(kernel, x))
    for i in range(k_h):
        for j in range(k_w):
            rows, columns = nonzero_block(kernel[:, :, i, j])
            window = padded[:, columns, i : i + stride * (h - 1) + 1 : stride, j : j + stride * (w - 1) + 1 : stride]
            out[..., rows] += np.tensordot(window, kernel[:, :, i, j][np.ix_(rows, columns)], axes=(1, 1))
    return np.ascontiguousarray(out.transpose(0, 3, 1, 2))


def nonzero_block(matrix: Array) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The rows and the columns of a matrix that hold an entry other than 0; integer kernels are sparse, products with 0 are not."""
    return np.flatnonzero(matrix.any(axis=1)), np.flatnonzero(matrix.any(axis=0))


def claim_products(kernel: Array, x: Array, sum_of: Callable[[Array], float]) -> None:
    """The bound of a linear map whose outputs add `sum_of` |kernel| times an entry of x, for both parts of dual numbers."""
    if is_guarded():
        claim(sum_of(np.real(kernel)) * magnitude(np.real(x)))
        if np.iscomplexobj(x) or np.iscomplexobj(kernel):
            terms = sum_of(np.imag(kernel)) * magnitude(np.real(x)) + sum_of(np.real(kernel)) * magnitude(np.imag(x))
            claim(terms / DUAL_STEP)


def scale(factor: Array, x: Array) -> Array:
    """factor x, entry by entry or by channel, with the bound of one product for each part of dual numbers."""
    claim_products(factor, x, magnitude)
    return stored(factor * x)


def add(x: Array, y: Array) -> Array:
    """x + y with its exactness bound, max|x| + max|y|."""
    if is_guarded():
        claim(magnitude(x) + magnitude(y))
    return stored(x + y)


def subtract(x: Array, y: Array) -> Array:
    """x - y with its exactness bound, max|x| + max|y|."""
    return add(x, -y)


def max_pool(x: Array) -> Array:
    """R_max of the ImageNet stem: the maximum over 3x3 windows at stride 2, nothing taken from outside the image."""
    h, w = -(-x.shape[2] // 2), -(-x.shape[3] // 2)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    windows = np.stack([padded[:, :, i : i + 2 * h - 1 : 2, j : j + 2 * w - 1 : 2] for i in range(3) for j in range(3)])
    return first_largest(windows, axis=0)


def first_largest(values: Array, *, axis: int) -> Array:
    """The largest along an axis; of dual numbers the first of equals, as torch propagates its gradient."""
    real = np.real(values)
    chosen = np.expand_dims(np.argmax(real, axis=axis), axis)
    largest = np.take_along_axis(real, chosen, axis)
    if is_guarded():
        claim_apart(np.where(np.isfinite(real), largest - real, 1.0))
    return np.take_along_axis(values, chosen, axis).squeeze(axis)


def max_pool_2x2(x: Array) -> Array:
    """The maximum over disjoint 2x2 windows, (b, c, h, w) -> (b, c, h // 2, w // 2); an odd last row or column is not read."""
    h, w = x.shape[2] // 2, x.shape[3] // 2
    windows = np.stack([x[:, :, i : i + 2 * h - 1 : 2, j : j + 2 * w - 1 : 2] for i in range(2) for j in range(2)])
    return first_largest(windows, axis=0)


def largest(u: Array) -> Array:
    """The maximum over all pixels, (b, c, h, w) -> (b, c)."""
    return first_largest(u.reshape(*u.shape[:2], -1), axis=2)


def mean(u: Array) -> Array:
    """R_ave: the mean over all pixels, (b, c, h, w) -> (b, c); with an exact sum, one rounding only."""
    pixels = u.shape[2] * u.shape[3]
    if is_guarded():
        claim(magnitude(u) * pixels)
    return u.sum(axis=(2, 3)) / pixels
