"""Is A injective on images of a given size? Proved, refuted with a kernel vector, or not decided; never guessed.

The theorem needs no inverse of A, but recovering u from r and f does: two features with the same residuals differ by a
kernel vector of A. Entries of a float kernel are dyadic rationals, so A is an integer matrix up to a power of two.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np

from mgnet_verify.specification import Array, convolve

# The largest prime below 2^20: products of residues are below 2^40, and sums of 2^12 of them below 2^53.
PRIME = 1_048_573
DENSE_LIMIT = 512
EXACT_LIMIT = 60


@dataclass(frozen=True, kw_only=True, eq=False)
class Injectivity:
    """The answer, how it was found, and for a refutation a field k != 0 of Python
    integers with A * k = 0, (c_u, h, w)."""

    answer: Literal["injective", "not injective", "not decided"]
    reason: str
    kernel_vector: Array | None = None


def injectivity(kernel: Array, size: tuple[int, int]) -> Injectivity:
    """Decide for the zero-padded convolution with `kernel` (c_f, c_u, k, k) on images (h, w).

    Full column rank modulo a prime proves full rank over the rationals, since a minor that is not 0 modulo p is not 0.
    The converse fails only if p divides every maximal minor; a rational elimination then finds an exact kernel vector,
    which is checked by applying the matrix to it.
    """
    c_f, c_u = kernel.shape[:2]
    unknowns = c_u * size[0] * size[1]
    if unknowns > DENSE_LIMIT:
        return Injectivity(answer="not decided", reason=f"{unknowns} unknowns are more than the {DENSE_LIMIT} of a dense proof")
    matrix = convolution_matrix(integer_kernel(kernel), size)
    if c_f >= c_u and rank_modulo(matrix, PRIME) == unknowns:
        return Injectivity(answer="injective", reason=f"rank {unknowns} of {unknowns} modulo {PRIME}")
    if unknowns > EXACT_LIMIT:
        if c_f < c_u:
            return Injectivity(answer="not injective", reason=f"{c_f} equations for {c_u} unknowns at each pixel")
        reason = f"no full rank modulo {PRIME}, and {unknowns} unknowns are too many for fractions"
        return Injectivity(answer="not decided", reason=reason)
    vector = kernel_vector(matrix)
    if vector is None:
        return Injectivity(answer="injective", reason="full rank by elimination in fractions")
    if any(sum(int(a) * k for a, k in zip(row, vector) if a) for row in matrix):
        raise ArithmeticError("the kernel vector found by elimination is none: a bug of this module")
    return Injectivity(answer="not injective", reason="A * k = 0 exactly for the field k", kernel_vector=vector.reshape(c_u, *size))


def integer_kernel(kernel: Array) -> Array:
    """The kernel times the power of two that makes every entry an integer, as exact Python integers."""
    fractions = [Fraction(float(value)) for value in kernel.ravel()]
    scale = max(fraction.denominator for fraction in fractions)
    return np.array([int(fraction * scale) for fraction in fractions], dtype=object).reshape(kernel.shape)


def convolution_matrix(kernel: Array, size: tuple[int, int]) -> Array:
    """The matrix of the convolution: columns are the images of unit fields."""
    c_u, (h, w) = kernel.shape[1], size
    units = np.eye(c_u * h * w, dtype=object).reshape(-1, c_u, h, w)
    return convolve(kernel, units).reshape(len(units), -1).T


def rank_modulo(matrix: Array, prime: int) -> int:
    """Rank over the field of `prime` elements, by row elimination in int64."""
    rows = (matrix % prime).astype(np.int64)
    rank = 0
    for column in range(rows.shape[1]):
        pivots = np.flatnonzero(rows[rank:, column])
        if pivots.size == 0:
            continue
        pivot = rank + int(pivots[0])
        rows[[rank, pivot]] = rows[[pivot, rank]]
        rows[rank] = rows[rank] * pow(int(rows[rank, column]), -1, prime) % prime
        below = rank + 1 + np.flatnonzero(rows[rank + 1 :, column])
        rows[below] = (rows[below] - rows[below, column, None] * rows[rank]) % prime
        rank += 1
        if rank == rows.shape[0]:
            break
    return rank


def kernel_vector(matrix: Array) -> Array | None:
    """An integer vector != 0 that the matrix maps to 0, or None; elimination in fractions."""
    rows = [[Fraction(int(value)) for value in row] for row in matrix]
    pivots: list[int] = []
    for column in range(matrix.shape[1]):
        rank = len(pivots)
        found = next((i for i in range(rank, len(rows)) if rows[i][column] != 0), None)
        if found is None:
            return _solution(rows, pivots, column, matrix.shape[1])
        rows[rank], rows[found] = rows[found], rows[rank]
        lead = rows[rank][column]
        rows[rank] = [value / lead for value in rows[rank]]
        for i, row in enumerate(rows):
            if i != rank and row[column] != 0:
                rows[i] = [a - row[column] * b for a, b in zip(row, rows[rank])]
        pivots.append(column)
    return None


def _solution(rows: list[list[Fraction]], pivots: list[int], free: int, columns: int) -> Array:
    """The kernel vector whose free entry is 1, scaled to integers without a common divisor."""
    vector = [Fraction(0)] * columns
    vector[free] = Fraction(1)
    for row, pivot in zip(rows, pivots):
        vector[pivot] = -row[free]
    scale = math.lcm(*(v.denominator for v in vector))
    return np.array([int(v * scale) for v in vector], dtype=object)
