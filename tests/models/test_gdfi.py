"""GDFI: the 16 schemes are Algorithm 3, and the linear one with the sigma B sigma smoother is MgNet."""

from typing import Any, get_args

import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mgnet_models import GDFI, MgNet, Notation
from mgnet_models.families.gdfi import DEFAULT_SIZE, FORMS, GDFI_NAMES
from mgnet_models.nn.layers import MapForm, TransferSigma
from models.conversions import assert_converts
from models.strategies import NOTATIONS, disturb_norms, grids_of

TRANSFER_SIGMAS: tuple[TransferSigma, ...] = get_args(TransferSigma)


@st.composite
def schemes(draw: st.DrawFn) -> tuple[GDFI, Tensor]:
    torch.manual_seed(draw(st.integers(0, 2**31)))
    model = GDFI(
        draw(st.sampled_from(FORMS)),
        draw(st.sampled_from(FORMS)),
        draw(NOTATIONS),
        num_classes=3,
        transfer_kernel=draw(st.sampled_from((3, 1))),
        transfer_sigma=draw(st.sampled_from(TRANSFER_SIGMAS)),
        dtype=torch.float64,
    ).eval()
    disturb_norms(model)
    size = draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    return model, torch.randn(draw(st.integers(1, 3)), 3, *size, dtype=torch.float64)


def algorithm_3(model: GDFI, x: Tensor) -> Tensor:
    """u^J with f kept and A evaluated wherever Algorithm 3 writes it, with (3.7) in place of the misprinted (4.12)."""
    f = model.stem(x)[1]
    u = f.new_zeros((f.shape[0], model.notation.c_u[0], *f.shape[2:]))
    residual = f
    for index, grid in enumerate(grids_of(model)):

        def A(i: int, u: Tensor, grid: Any = grid) -> Tensor:
            return grid.system(i, u) if hasattr(grid, "system") else grid.A(u)

        if index > 0:
            u = grid.transfer.sigma_Pi(grid.transfer.Pi(u))
            f = grid.transfer.sigma_R(grid.transfer.R(residual)) + A(0, u)
        for i in range(grid.nu):
            r = grid.sigma_r[i](f - A(i, u))
            u = u + grid.sigma_u[i](grid.B[0 if grid.share_B else i](r))
        residual = f - A(grid.nu, u) if not grid.last else f
    return u


@given(schemes())
def test_every_scheme_computes_what_algorithm_3_writes(scheme: tuple[GDFI, Tensor]) -> None:
    model, x = scheme
    torch.testing.assert_close(model.forward_features(x), algorithm_3(model, x), rtol=1e-9, atol=1e-9)


@given(NOTATIONS, st.integers(0, 2**31))
def test_the_scheme_lin_both_with_the_weights_of_a_mgnet_gives_its_outputs(notation: Notation, seed: int) -> None:
    torch.manual_seed(seed)
    mgnet = MgNet(notation, num_classes=3).eval()
    disturb_norms(mgnet)
    model = GDFI("lin", "both", notation, num_classes=3).eval()
    model.load_state_dict(mgnet.state_dict())
    x = torch.randn(2, 3, 6, 7)
    assert torch.equal(model(x), mgnet(x))


@given(schemes())
def test_no_tensor_has_two_names_and_every_parameter_that_asks_for_a_gradient_gets_one(scheme: tuple[GDFI, Tensor]) -> None:
    model, x = scheme
    assert len(dict(model.named_parameters())) == len(dict(model.named_parameters(remove_duplicate=False)))
    model.train()
    model(torch.cat([x, x + 1, x * 2])).square().sum().backward()
    assert [key for key, parameter in model.named_parameters() if parameter.requires_grad and parameter.grad is None] == []


@pytest.mark.parametrize("form_A", ["pre", "post", "both"])
def test_a_nonlinear_map_of_a_sum_is_not_the_sum_of_its_maps(form_A: MapForm) -> None:
    grid = grids_of(GDFI(form_A, "both", "MgNet[1,1]-[4]-B^l", num_classes=3, dtype=torch.float64).eval())[0]
    u, s = torch.randn(2, 1, 4, 5, 5, dtype=torch.float64)
    difference = grid.system(0, u + s) - grid.system(0, u) - grid.system(0, s)
    assert difference.abs().max() > 0.1


def test_the_names_are_the_sixteen_schemes_of_table_1_in_the_documented_size() -> None:
    assert len(set(GDFI_NAMES)) == 16
    reference = timm.create_model("mgnet", notation=DEFAULT_SIZE, num_classes=10, device="meta")
    models = {name: timm.create_model(name, device="meta") for name in GDFI_NAMES}
    counts = {name: sum(p.numel() for p in model.parameters()) for name, model in models.items()}
    assert counts["gdfi_lin_both"] == sum(p.numel() for p in reference.parameters()) == 12_515_146
    # One sigma on each side of B costs 2 sum nu c weights, one in A 2 sum (nu + 1) c, but nu on the last grid.
    B_side, A_side = 2 * 2 * (64 + 128 + 256 + 512), 2 * (3 * (64 + 128 + 256) + 2 * 512)
    for name, count in counts.items():
        _, form_A, form_B = name.split("_")
        sides = {"lin": 0, "pre": 1, "post": 1, "both": 2}
        assert count == 12_515_146 + sides[form_A] * A_side - (2 - sides[form_B]) * B_side


@pytest.mark.parametrize("name", ["gdfi_lin_pre", "gdfi_both_both"])
def test_a_reduced_scheme_scripts_traces_and_compiles_to_the_same_outputs(name: str) -> None:
    model = timm.create_model(name, notation="MgNet[2,1,2]-[(3,2),(4,4),(5,3)]-B^l", num_classes=3).eval()
    x = torch.randn(2, 3, 13, 14)
    assert_converts(model, x)


def test_a_map_form_that_is_not_one_of_the_four_is_refused() -> None:
    with pytest.raises(ValueError, match="form_A='linear' is unknown: use one of lin, pre, post, both"):
        GDFI("linear", "both")  # type: ignore[arg-type]
