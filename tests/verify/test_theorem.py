"""The duality theorem: proved over uninterpreted sorts, tried at any depth, and refuted where a hypothesis is dropped."""

from functools import partial
from math import prod

import numpy as np
import pytest
import z3
from hypothesis import find, given, settings
from hypothesis import strategies as st

from mgnet_verify.specification import convolve
from mgnet_verify.specification.theorem import first_violation

QUIET = settings(max_examples=3000, derandomize=True, database=None, deadline=None)


# The proof.


def unsatisfiable(*claims: z3.BoolRef) -> bool:
    solver = z3.Solver()
    solver.set("timeout", 5000)
    solver.add(*claims)
    return bool(solver.check() == z3.unsat)


U, F, G = (z3.DeclareSort(name) for name in ("U", "F", "G"))
PLUS_U, PLUS_F = z3.Function("+U", U, U, U), z3.Function("+F", F, F, F)
MINUS_F = z3.Function("-F", F, F, F)
A, S, R = z3.Function("A", U, F), z3.Function("S", F, U), z3.Function("R", F, F)
u, v = z3.Consts("u v", U)
f, a, b, c = z3.Consts("f a b c", F)
ADDITIVE = z3.ForAll([u, v], A(PLUS_U(u, v)) == PLUS_F(A(u), A(v)))
ASSOCIATIVE = z3.ForAll([a, b, c], MINUS_F(a, PLUS_F(b, c)) == MINUS_F(MINUS_F(a, b), c))
CANCELS = z3.ForAll([a, b, c], z3.Implies(MINUS_F(a, b) == MINUS_F(a, c), b == c))
INJECTIVE = z3.ForAll([u, v], z3.Implies(A(u) == A(v), u == v))
UNDONE = z3.ForAll([a, b], MINUS_F(PLUS_F(a, b), b) == a)


def residual(feature: z3.ExprRef) -> z3.ExprRef:
    return MINUS_F(f, A(feature))


STEPPED = PLUS_U(u, S(residual(u)))
RECURSION = residual(STEPPED) == MINUS_F(residual(u), A(S(residual(u))))


def test_a_step_of_u_is_a_step_of_r_by_additivity_alone() -> None:
    assert unsatisfiable(ADDITIVE, ASSOCIATIVE, z3.Not(RECURSION))


def test_without_additivity_the_recursion_does_not_follow() -> None:
    solver = z3.Solver()
    solver.add(z3.Not(RECURSION))
    assert solver.check() == z3.sat


def test_a_step_of_r_is_a_step_of_u_if_the_system_is_injective() -> None:
    w = z3.Const("w", U)
    follows_r = residual(w) == MINUS_F(residual(u), A(S(residual(u))))
    claims = (ADDITIVE, ASSOCIATIVE, CANCELS, follows_r, w != STEPPED)
    assert unsatisfiable(INJECTIVE, *claims)


def test_the_residual_of_the_coarse_grid_is_the_restricted_residual() -> None:
    coarse = z3.Function("A'", U, F)
    f_coarse = PLUS_F(R(residual(u)), coarse(v))  # (3.7), v = Pi u
    assert unsatisfiable(UNDONE, MINUS_F(f_coarse, coarse(v)) != R(residual(u)))


# Any depth, any map S of r.


@settings(max_examples=20)
@given(
    seed=st.integers(0, 2**32 - 1),
    depth=st.integers(1, 32),
    c_u=st.integers(1, 3),
    c_f=st.integers(1, 3),
    size=st.tuples(st.integers(1, 7), st.integers(1, 7)),
)
def test_the_recursion_holds_at_any_depth_in_wrapping_integers(
    seed: int, depth: int, c_u: int, c_f: int, size: tuple[int, int]
) -> None:
    rng = np.random.default_rng(seed)
    full = partial(rng.integers, -(2**63), 2**63 - 1, dtype=np.int64)
    kernel = full(size=(c_f, c_u, 3, 3))
    smoothers = [full(size=(c_u, c_f, 3, 3)) for _ in range(depth)]

    def scrambled(B: np.ndarray, r: np.ndarray) -> np.ndarray:
        return convolve(B, r ^ (r >> 7)) * 3 + 1  # nonlinear, and as good as any map of r

    steps = [partial(scrambled, B) for B in smoothers]
    with np.errstate(over="ignore"):
        assert (
            first_violation(
                [partial(convolve, kernel)] * (depth + 1), steps, full(size=(2, c_u, *size)), full(size=(2, c_f, *size))
            )
            is None
        )


# What goes wrong without a hypothesis: Hypothesis finds it and shrinks it.


def small(*shape: int) -> st.SearchStrategy[np.ndarray]:
    """-1, 0 and 1; entry by entry, which Hypothesis shrinks in a hundred steps, not in thousands as it does arrays."""
    return st.tuples(*[st.integers(-1, 1)] * prod(shape)).map(lambda entries: np.array(entries).reshape(shape))


FIELD, KERNEL = (1, 1, 2, 1), (1, 1, 3, 1)
# f, u, two kernels of A, two of B.
NETS = st.tuples(small(*FIELD), small(*FIELD), *[small(*KERNEL)] * 4)


def violates(wrap, net, *, zero_start: bool = False) -> bool:  # type: ignore[no-untyped-def]
    f, u, *kernels = net
    systems, smoothers = kernels[:2], kernels[2:]
    maps = wrap(*(partial(convolve, A) for A in systems))
    return first_violation(maps, [partial(corrected, B) for B in smoothers], 0 * u if zero_start else u, f) is not None


def corrected(B: np.ndarray, r: np.ndarray) -> np.ndarray:
    return relu(convolve(B, relu(r)))


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


VARIANTS = {
    "bias": lambda A, _: [lambda x: A(x) + 1] * 3,
    "A depends on i": lambda A, B: [A, B, A],
    "sigma A": lambda A, _: [lambda x: relu(A(x))] * 3,
    "A sigma": lambda A, _: [lambda x: A(relu(x))] * 3,
    "sigma A sigma": lambda A, _: [lambda x: relu(A(relu(x)))] * 3,
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.nightly) if name.endswith("sigma") else name for name in VARIANTS]
)
def test_a_system_that_is_not_one_linear_map_breaks_the_recursion(name: str) -> None:
    smallest = find(NETS, partial(violates, VARIANTS[name]), settings=QUIET)
    nonzeros = sum(int(np.count_nonzero(tensor)) for tensor in smallest)
    assert nonzeros <= 6, smallest


@settings(max_examples=50)
@given(net=NETS)
def test_one_linear_system_never_does(net) -> None:  # type: ignore[no-untyped-def]
    assert not violates(lambda A, _: [A] * 3, net)


@settings(max_examples=50)
@given(net=NETS)
def test_sigma_inside_the_system_does_not_break_it_from_zero_since_features_stay_nonnegative(net) -> None:  # type: ignore[no-untyped-def]
    """So a test that every nonlinear A must break the recursion would be wrong: two of Table 1's rows do not from u = 0."""
    assert not violates(VARIANTS["A sigma"], net, zero_start=True)


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["sigma A", "sigma A sigma"])
def test_sigma_outside_the_system_breaks_it_from_zero_too(name: str) -> None:
    assert violates(VARIANTS[name], find(NETS, partial(violates, VARIANTS[name], zero_start=True), settings=QUIET), zero_start=True)


@pytest.mark.parametrize("name, violated", [("A sigma", None), ("sigma A", 2), ("sigma A sigma", 2)])
def test_from_zero_the_recursion_breaks_in_the_second_step_where_sigma_stands_outside(name: str, violated: int | None) -> None:
    """The smallest such network: one channel, two pixels, five entries that are not 0."""
    f, u = np.array([1, 0]).reshape(FIELD), np.zeros(FIELD, dtype=np.int64)
    A, *smoothers = (np.array(k).reshape(KERNEL) for k in ([0, -1, 1], [0, 1, 0], [1, 0, 0]))
    steps = [partial(corrected, B) for B in smoothers]
    assert first_violation(VARIANTS[name](partial(convolve, A), None), steps, u, f) == violated
