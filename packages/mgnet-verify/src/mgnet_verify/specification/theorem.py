"""Theorem 4.1 for arbitrary maps: does r^i = f - A_i(u^i) obey r <- r - A S_i(r) while u <- u + S_i(r)?

It does for every additive A that is the same in all steps, whatever the maps S_i of r are; nothing else is used. With the
maps as arguments the theorem and its failures (a bias, an A that depends on i, a nonlinear A) are one function.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from mgnet_verify.specification import Array

Map = Callable[[Array], Array]


def first_violation(A: Sequence[Map], S: Sequence[Map], u: Array, f: Array) -> int | None:
    """The first step (from 1) whose residual is not r - A S(r), None if the recursion holds in all of them.

    `A` has one map for each residual, len(S) + 1, so that an A that depends on i can be given; r^i = f - A[i](u^i) and
    the recursion of step i uses A[i]. Exact for integers, and for int64 with wrap-around, where arithmetic is that of
    Z/2^64: convolution stays additive there, so any depth can be tried without a budget of bits.
    """
    r = f - A[0](u)
    for step, correct in enumerate(S, start=1):
        s = correct(r)
        u = u + s
        r_next = f - A[step](u)
        if not np.array_equal(r_next, r - A[step](s)):
            return step
        r = r_next
    return None
