"""Injectivity of A: proved, refuted with an exact kernel vector, or said not to be decided."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mgnet_verify.specification import convolve
from mgnet_verify.specification.injectivity import DENSE_LIMIT, injectivity, kernel_vector, rank_modulo

BOX = np.ones((1, 1, 3, 3))
SHIFT = np.zeros((1, 1, 3, 3))
SHIFT[0, 0, 0, 0] = 1.0


@pytest.mark.parametrize("size, answer", [((4, 4), "injective"), ((5, 5), "not injective"), ((5, 4), "not injective")])
def test_the_box_kernel_depends_on_the_size_of_the_image(size: tuple[int, int], answer: str) -> None:
    assert injectivity(BOX, size).answer == answer


def test_two_features_with_one_residual_differ_by_the_kernel_vector() -> None:
    """The converse of the theorem fails without injectivity: u + k has the residuals of u, and is not its iterate."""
    k = injectivity(BOX, (5, 5)).kernel_vector
    assert k is not None
    assert k.any()
    f, u = np.arange(25.0).reshape(1, 1, 5, 5), np.ones((1, 1, 5, 5))
    assert np.array_equal(f - convolve(BOX, u), f - convolve(BOX, u + k))


def test_a_diagonal_shift_of_zero_padded_images_is_not_injective() -> None:
    assert injectivity(SHIFT, (3, 3)).answer == "not injective"


def test_fewer_data_than_feature_channels_cannot_be_injective() -> None:
    assert injectivity(np.random.default_rng(0).normal(size=(1, 2, 3, 3)), (3, 4)).answer == "not injective"
    assert "1 equations for 2 unknowns" in injectivity(np.random.default_rng(0).normal(size=(1, 2, 3, 3)), (8, 8)).reason


def test_a_large_image_is_not_decided_and_not_guessed() -> None:
    found = injectivity(np.random.default_rng(0).normal(size=(4, 4, 3, 3)), (32, 32))
    assert found.answer == "not decided"
    assert f"4096 unknowns are more than the {DENSE_LIMIT}" in found.reason


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), c=st.integers(1, 2), size=st.tuples(st.integers(1, 4), st.integers(1, 4)))
def test_the_answer_agrees_with_elimination_in_fractions(seed: int, c: int, size: tuple[int, int]) -> None:
    kernel = np.random.default_rng(seed).integers(-1, 2, (c, c, 3, 3)).astype(float)
    found = injectivity(kernel, size)
    assert found.answer != "not decided"
    if found.kernel_vector is not None:
        assert found.kernel_vector.any()
        assert not convolve(kernel, found.kernel_vector[None]).any()
    else:
        unknowns = c * size[0] * size[1]
        units = np.eye(unknowns).reshape(-1, c, *size)
        assert np.linalg.matrix_rank(convolve(kernel, units).reshape(unknowns, -1)) == unknowns


def test_rank_modulo_a_prime_can_only_be_too_small() -> None:
    matrix = np.array([[5, 0], [0, 1]], dtype=object)
    assert rank_modulo(matrix, 5) == 1
    assert rank_modulo(matrix, 7) == 2
    assert kernel_vector(matrix) is None
