"""Res-CSC and MSD-CSC: the equalities that tie them to sparse coding, ResNet and MgNet, on the specification and on the models."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mgnet_models.families.sparse_coding import Dictionary, fista_momentum
from mgnet_verify.specification.sigma import rectify
from mgnet_verify.specification.sparse_coding import (
    CodingTensors,
    analysis,
    ista_step,
    pursuit,
    res_csc_block,
    soft_threshold,
    synthesis,
    threshold,
)
from mgnet_verify.specification.theorem import first_violation


def dense_layer(F: np.ndarray, dilation: int) -> CodingTensors:
    """D = [I F^T], without normalization."""
    zeros = np.zeros(F.shape[0] + F.shape[1])
    return CodingTensors(
        F=F, c=np.ones(1), b=zeros, stride=1, dilation=dilation, identity=True, norms=(), gain=None, kept=len(zeros)
    )


SEEDS = st.integers(0, 2**32 - 1)
SIZES = st.tuples(st.integers(1, 7), st.integers(1, 7))


def integers(seed: int, *shapes: tuple[int, ...]) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(-5, 6, shape).astype(np.float64) for shape in shapes]


@given(seed=SEEDS, size=SIZES, k=st.sampled_from((1, 3, 5)), stride=st.integers(1, 2), dilation=st.integers(1, 2))
def test_synthesis_is_the_adjoint_of_analysis(seed: int, size: tuple[int, int], k: int, stride: int, dilation: int) -> None:
    F, x = integers(seed, (3, 2, k, k), (2, 2, *size))
    answers = analysis(F, x, stride=stride, dilation=dilation)
    (z,) = integers(seed + 1, answers.shape)
    assert (answers * z).sum() == (x * synthesis(F, z, size, stride=stride, dilation=dilation)).sum()


@given(seed=SEEDS, size=SIZES, k=st.sampled_from((1, 3)), stride=st.integers(1, 2), dilation=st.integers(1, 2))
def test_the_dictionary_of_the_models_is_the_specified_one(
    seed: int, size: tuple[int, int], k: int, stride: int, dilation: int
) -> None:
    F, x = integers(seed, (3, 2, k, k), (2, 2, *size))
    D = Dictionary(2, 3, {"dtype": torch.float64}, std=1.0, kernel=k, stride=stride, dilation=dilation)
    with torch.no_grad():
        D.weight.copy_(torch.from_numpy(F))
        signal = torch.from_numpy(x)
        seen = D.analysis(signal)
        assert np.array_equal(seen.numpy(), analysis(F, x, stride=stride, dilation=dilation))
        back = D.synthesis(seen, signal).numpy()
    assert np.array_equal(back, synthesis(F, seen.numpy(), size, stride=stride, dilation=dilation))


@given(seed=SEEDS, beta=st.integers(0, 4))
def test_the_soft_threshold_is_a_difference_of_two_nonnegative_ones(seed: int, beta: int) -> None:
    (v,) = integers(seed, (2, 3, 4, 4))
    b = np.full(3, -float(beta))
    assert np.array_equal(soft_threshold(v, beta), threshold(v, b) - threshold(-v, b))


@given(seed=SEEDS, size=SIZES)
def test_a_step_from_zero_is_a_layer_of_a_plain_network(seed: int, size: tuple[int, int]) -> None:
    F, x, b = integers(seed, (3, 2, 3, 3), (2, 2, *size), (3,))
    zero = np.zeros((2, 3, *size))
    assert np.array_equal(ista_step(F, zero, x, 0.5, b), threshold(0.5 * analysis(F, x), b))


@given(seed=SEEDS, size=SIZES)
def test_a_res_csc_block_is_an_ista_step_that_starts_at_its_input(seed: int, size: tuple[int, int]) -> None:
    D_1, D_2, u, b1, b2 = integers(seed, (2, 2, 3, 3), (2, 2, 3, 3), (2, 2, *size), (2,), (2,))
    f = threshold(analysis(D_1, u), b1)
    assert np.array_equal(res_csc_block(D_1, D_2, u, 0.5, b1, b2), ista_step(D_2, u, f, 0.5, b2))


@given(seed=SEEDS, size=SIZES)
def test_where_the_dictionary_maps_u_to_zero_it_is_the_basic_block_of_resnet(seed: int, size: tuple[int, int]) -> None:
    D_1, D_2, b1, b2 = integers(seed, (2, 2, 3, 3), (2, 2, 3, 3), (2,), (2,))
    D_2[0] = 0  # D2 of a field that lives in the first channel alone is 0
    (u,) = integers(seed + 1, (2, 2, *size))
    u[:, 1] = 0
    resnet = rectify(u + analysis(D_2, threshold(analysis(D_1, u), b1)) + b2[None, :, None, None])
    assert np.array_equal(res_csc_block(D_1, D_2, u, 1.0, b1, b2), resnet)


@given(seed=SEEDS, size=SIZES)
def test_with_orthonormal_atoms_the_skip_cancels(seed: int, size: tuple[int, int]) -> None:
    D_2 = np.zeros((2, 2, 3, 3))
    D_2[0, 1, 1, 1] = D_2[1, 0, 1, 1] = 1  # a permutation of channels
    D_1, u, v, b1, b2 = integers(seed, (2, 2, 3, 3), (2, 2, *size), (2, 2, *size), (2,), (2,))
    f = threshold(analysis(D_1, u), b1)
    assert np.array_equal(ista_step(D_2, u, f, 1.0, b2), ista_step(D_2, v, f, 1.0, b2))


@given(seed=SEEDS, size=SIZES, dilation=st.integers(1, 3))
def test_a_layer_of_msd_csc_is_a_dense_dilated_layer(seed: int, size: tuple[int, int], dilation: int) -> None:
    F, x, b = integers(seed, (3, 2, 3, 3), (2, 2, *size), (3,))
    x = np.abs(x)
    D = Dictionary(2, 3, {"dtype": torch.float64}, std=1.0, dilation=dilation, identity=True)
    with torch.no_grad():
        D.weight.copy_(torch.from_numpy(F))
        code = D.analysis(torch.from_numpy(x)).numpy()
    layer = threshold(code, np.concatenate([np.zeros(2), b]))
    assert np.array_equal(layer, np.concatenate([x, threshold(analysis(F, x, dilation=dilation), b)], axis=1))


@given(seed=SEEDS, size=SIZES)
def test_a_dictionary_with_identity_reproduces_every_signal(seed: int, size: tuple[int, int]) -> None:
    F, x = integers(seed, (3, 2, 3, 3), (2, 2, *size))
    D = Dictionary(2, 3, {"dtype": torch.float64}, std=1.0, identity=True)
    with torch.no_grad():
        D.weight.copy_(torch.from_numpy(F))
        signal = torch.from_numpy(x)
        assert torch.equal(D.synthesis(torch.cat((signal, 0 * D.analysis(signal)[:, 2:]), 1), signal), signal)
        both = D.synthesis(D.analysis(signal), signal).numpy()
    assert np.array_equal(both, x + synthesis(F, analysis(F, x), size))  # D D^T = I + F^T F


def test_fista_is_ista_for_two_steps_and_has_the_known_momentum_in_the_third() -> None:
    momentum = fista_momentum(3)
    assert momentum[:2] == [0.0, 0.0]
    assert momentum[2] == pytest.approx(0.6180339887498949 / 2.1935270853, rel=1e-9)
    F, x, b = integers(0, (3, 2, 3, 3), (1, 2, 5, 5), (3,))
    codes = [pursuit(F, x, 0.01, b, unfold=unfold, momentum=momentum) for unfold in (0, 1, 2)]
    plain = [pursuit(F, x, 0.01, b, unfold=unfold, momentum=[0.0] * 4) for unfold in (0, 1, 2)]
    assert np.array_equal(codes[0], plain[0])
    assert np.array_equal(codes[1], plain[1])
    assert not np.array_equal(codes[2], plain[2])


@settings(max_examples=10)
@given(seed=SEEDS)
def test_ista_with_a_step_below_the_inverse_norm_never_raises_its_objective(seed: int) -> None:
    rng = np.random.default_rng(seed)
    F, x = rng.normal(size=(3, 2, 3, 3)), rng.normal(size=(1, 2, 4, 4))
    units = np.eye(3 * 16).reshape(-1, 3, 4, 4)
    L = np.linalg.norm(synthesis(F, units, (4, 4)).reshape(48, -1), 2) ** 2
    beta, z = 0.1, np.zeros((1, 3, 4, 4))
    values = []
    for _ in range(12):
        values.append(((synthesis(F, z, (4, 4)) - x) ** 2).sum() / 2 + beta * z.sum())
        z = ista_step(F, z, x, 1 / L, np.full(3, -beta / L))
    # One step lowers the objective by (L / 2)||dz||^2 in exact arithmetic; its evaluation rounds 200 times at most.
    assert all(after <= before + 200 * 2.0**-52 * values[0] for before, after in pairwise(values))


@settings(max_examples=20)
@given(seed=SEEDS, size=SIZES, dilation=st.integers(1, 3), beta=st.integers(0, 5))
def test_the_lasso_of_a_dense_dictionary_embeds_that_of_its_filters(
    seed: int, size: tuple[int, int], dilation: int, beta: int
) -> None:
    """Theorem 1: [0; g] rebuilds by [I F^T] what g rebuilds by F^T, and costs the same, so no minimum over [a; g] is larger."""
    F, g, x = integers(seed, (3, 2, 3, 3), (1, 3, *size), (1, 2, *size))
    dense = dense_layer(F, dilation)
    embedded = np.concatenate([np.zeros_like(x), g], axis=1)

    def lasso(rebuilt: np.ndarray, code: np.ndarray) -> float:
        return float(((rebuilt - x) ** 2).sum() + 2 * beta * np.abs(code).sum())

    assert np.array_equal(dense.signal(embedded, size), synthesis(F, g, size, dilation=dilation))
    assert lasso(dense.signal(embedded, size), embedded) == lasso(synthesis(F, g, size, dilation=dilation), g)
    # [x; 0] has no error at all: with beta = 0 the minimum of the dense one is 0, which F^T alone reaches for signals in its range.
    kept = np.concatenate([x, np.zeros_like(g)], axis=1)
    assert lasso(dense.signal(kept, size), kept) == 2 * beta * np.abs(x).sum()


@given(seed=SEEDS, size=SIZES)
def test_projecting_the_sum_never_exceeds_projecting_the_correction(seed: int, size: tuple[int, int]) -> None:
    u, s = integers(seed, (1, 2, *size), (1, 2, *size))
    u = np.abs(u)
    assert (rectify(u + s) <= u + rectify(s)).all()


def test_a_projected_step_has_no_closed_recursion_for_the_residual() -> None:
    """u <- ReLU(u + S(r)) is not u + a map of r: the same r with another u gives another step."""

    def system(x: np.ndarray) -> np.ndarray:
        return x

    f, u = np.array([0.0]), np.array([2.0])
    assert first_violation([system] * 2, [lambda r: r], u, f) is None
    steps = {rectify(start + (data - start))[0] - start[0] for start, data in ((u, f), (u - 3, f - 3))}
    assert len(steps) == 2
