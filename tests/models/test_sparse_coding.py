"""Dictionaries and pursuits: adjoints, norms, steps that descend, and unfoldings that are what they are called."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from mgnet_models import Dictionary
from mgnet_models.families.sparse_coding import CodingLayer, Pursuit, fista_momentum

DOUBLE: dict[str, Any] = {"dtype": torch.float64}


@st.composite
def dictionaries(draw: st.DrawFn, identity: bool | None = None) -> tuple[Dictionary, Tensor]:
    torch.manual_seed(draw(st.integers(0, 2**31)))
    has_identity = draw(st.booleans()) if identity is None else identity
    kernel, stride = draw(st.sampled_from([(1, 1), (3, 1), (5, 1), (3, 1), (4, 2), (3, 2), (2, 2)]))
    if has_identity:
        kernel, stride = 3, 1
    dilation = draw(st.integers(1, 3)) if stride == 1 else 1
    sizes = st.integers(3, 9)
    D = Dictionary(
        draw(st.integers(1, 3)),
        draw(st.integers(1, 4)),
        DOUBLE,
        std=0.3,
        kernel=kernel,
        stride=stride,
        dilation=dilation,
        identity=has_identity,
    )
    x = torch.randn(2, D.weight.shape[1], draw(sizes), draw(sizes), dtype=torch.float64)
    return D, x


def as_matrix(D: Dictionary, x: Tensor) -> Tensor:
    """D^T as a dense matrix, column by column."""
    basis = torch.eye(x[0].numel(), dtype=torch.float64).view(-1, *x.shape[1:])
    return D.analysis(basis).flatten(1).T.detach()


@given(dictionaries())
def test_synthesis_is_the_adjoint_of_analysis(case: tuple[Dictionary, Tensor]) -> None:
    D, x = case
    z = torch.randn_like(D.analysis(x))
    y = D.synthesis(z, x)
    assert y.shape == x.shape
    torch.testing.assert_close((D.analysis(x) * z).sum(), (x * y).sum(), rtol=1e-10, atol=1e-10)


@given(dictionaries(identity=True))
def test_a_dictionary_with_an_identity_block_is_onto_and_its_norm_is_one_more_than_the_filters(
    case: tuple[Dictionary, Tensor],
) -> None:
    D, x = case
    matrix = as_matrix(D, x)
    values = torch.linalg.svdvals(matrix) ** 2
    filters = torch.linalg.svdvals(matrix[x[0].numel() :]) ** 2
    assert values.min() >= 1 - 1e-10
    torch.testing.assert_close(values.max(), 1 + filters.max(), rtol=1e-10, atol=0)


@given(dictionaries(identity=True))
def test_the_code_of_the_identity_block_alone_rebuilds_the_signal_exactly(case: tuple[Dictionary, Tensor]) -> None:
    D, x = case
    zeros = x.new_zeros(x.shape[0], D.atoms, *x.shape[2:])
    assert torch.equal(D.synthesis(torch.cat((x, zeros), dim=1), x), x)
    g = torch.randn_like(zeros)  # and a code of the filters alone is the code that the plain dictionary would have
    plain = Dictionary(D.weight.shape[1], D.atoms, DOUBLE, std=1.0, kernel=3, dilation=D.dilation)
    plain.load_state_dict(D.state_dict())
    assert torch.equal(D.synthesis(torch.cat((torch.zeros_like(x), g), dim=1), x), plain.synthesis(g, x))


def layer_for(D: Dictionary, unfold: int = 0) -> CodingLayer:
    layer = CodingLayer(D, unfold, nn.ReLU, DOUBLE)
    with torch.no_grad():
        layer.c.uniform_(0.05, 0.5)
        layer.b.uniform_(-0.2, 0.2)
    return layer


@given(dictionaries())
def test_the_first_step_from_zero_is_a_convolution_a_bias_and_a_relu(case: tuple[Dictionary, Tensor]) -> None:
    D, x = case
    layer = layer_for(D)
    z = D.analysis(x)
    torch.testing.assert_close(layer.start(x), F.relu(layer.c * z + layer.b.view(1, -1, 1, 1)))
    torch.testing.assert_close(layer.start(x), layer.step(0, torch.zeros_like(z), x))


@given(dictionaries(), st.floats(0.0, 0.5))
def test_a_step_with_c_below_one_over_the_squared_norm_descends(case: tuple[Dictionary, Tensor], penalty: float) -> None:
    D, x = case
    layer = layer_for(D)
    c = 1 / float(torch.linalg.matrix_norm(as_matrix(D, x), 2) ** 2)
    with torch.no_grad():
        layer.c.fill_(c)
        layer.b.fill_(-c * penalty)

    def objective(z: Tensor) -> Tensor:
        return ((D.synthesis(z, x) - x) ** 2).sum() / 2 + penalty * z.sum()

    z = torch.rand_like(D.analysis(x))
    for _ in range(3):
        better = layer.step(0, z, x)
        assert objective(better) <= objective(z) + 1e-12
        z = better


def test_the_momentum_of_fista_is_nothing_twice_and_then_grows() -> None:
    assert fista_momentum(0) == [0.0]
    assert fista_momentum(2) == pytest.approx([0.0, 0.0, 0.6180339887 / 2.1935270853], abs=1e-10)
    assert fista_momentum(30) == sorted(fista_momentum(30))
    assert fista_momentum(30)[-1] < 1


@st.composite
def chains(draw: st.DrawFn) -> tuple[list[CodingLayer], int, Tensor]:
    """Layers with growing identity blocks or plain ones, and a signal for the first."""
    torch.manual_seed(draw(st.integers(0, 2**31)))
    unfold, identity = draw(st.integers(0, 3)), draw(st.booleans())
    c, layers = draw(st.integers(1, 3)), []
    for position in range(draw(st.integers(1, 3))):
        D = Dictionary(c, draw(st.integers(1, 3)), DOUBLE, std=0.3, dilation=position + 1, identity=identity)
        layers.append(layer_for(D, unfold))
        c = D.c_code
    return layers, unfold, torch.rand(2, layers[0].D.weight.shape[1], 6, 7, dtype=torch.float64)


@given(chains(), st.booleans())
def test_layered_pursuit_is_one_pursuit_after_the_other_with_a_fixed_signal(
    chain: tuple[list[CodingLayer], int, Tensor], fista: bool
) -> None:
    layers, unfold, x = chain
    expected, momentum = x, fista_momentum(unfold) if fista else [0.0] * (unfold + 1)
    for layer in layers:
        codes = [layer.start(expected)] * 2
        for t in range(1, unfold + 1):
            codes.append(layer.step(t, codes[-1] + momentum[t] * (codes[-1] - codes[-2]), expected))
        expected = codes[-1]
    torch.testing.assert_close(Pursuit(layers, unfold, "layered", fista)(x), expected)


@given(chains(), st.booleans())
def test_global_pursuit_rebuilds_top_down_and_corrects_bottom_up(chain: tuple[list[CodingLayer], int, Tensor], fista: bool) -> None:
    layers, unfold, x = chain
    codes: list[Tensor] = []
    for layer in layers:
        codes.append(layer.start(codes[-1] if codes else x))
    momentum, before = fista_momentum(unfold) if fista else [0.0] * (unfold + 1), codes[-1]
    for t in range(1, unfold + 1):
        guess = codes[-1] + momentum[t] * (codes[-1] - before)
        before, rebuilt = codes[-1], [guess]
        for layer in reversed(layers[1:]):
            rebuilt.insert(0, layer.D.synthesis(rebuilt[0], rebuilt[0]))
        codes = []
        for layer, guess in zip(layers, rebuilt):
            codes.append(layer.step(t, guess, codes[-1] if codes else x))
    torch.testing.assert_close(Pursuit(layers, unfold, "global", fista)(x), codes[-1])


@given(chains())
def test_pursuits_agree_where_nothing_is_unfolded_or_there_is_only_one_layer(chain: tuple[list[CodingLayer], int, Tensor]) -> None:
    layers, unfold, x = chain
    assert torch.equal(Pursuit(layers, 0, "layered", False)(x), Pursuit(layers, 0, "global", True)(x))
    one = layers[:1]
    torch.testing.assert_close(Pursuit(one, unfold, "layered", True)(x), Pursuit(one, unfold, "global", True)(x))


def test_settings_that_make_no_pursuit_are_refused() -> None:
    with pytest.raises(ValueError, match="unfold=-1 is no number of steps: use 0 for the feed-forward network"):
        Pursuit([], -1, "layered", False)
    with pytest.raises(ValueError, match="pursuit='local' is unknown: use 'layered' or 'global'"):
        Pursuit([], 1, "local", False)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="stride=2 with an identity block"):
        Dictionary(1, 1, {}, std=1.0, stride=2, identity=True)
