"""The conversion between a MgNet and the modified pre-act ResNet of its residuals, on every grid, exactly."""

import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from mgnet_models import MgNet, Notation, to_mgnet, to_preact_resnet
from models.strategies import NETWORKS, NOTATIONS, grids_of


def residuals(model: MgNet, x: Tensor) -> list[Tensor]:
    """f^l - A^l * u^l at the end of each grid by the feature form, A applied from its weight."""
    _, f = model.stem(x)
    u = f.new_zeros((f.shape[0], model.notation.c_u[0], *f.shape[2:]))
    found: list[Tensor] = []
    fine = None
    for grid in grids_of(model):
        if fine is not None:
            u, f = grid.transfer.feature_form(u, f, fine.A, grid.A)
        u = grid.feature_iteration(u, f)
        found.append(f - nn.functional.conv2d(u, grid.A.weight, padding=1))
        fine = grid
    return found


def integer_weights(model: nn.Module, seed: int) -> None:
    """Small integers for every weight and norms that map integers to integers, so that float64 is exact."""
    generator = torch.Generator().manual_seed(seed)

    def draw(tensor: Tensor, low: int, high: int) -> None:
        tensor.copy_(torch.randint(low, high + 1, tensor.shape, generator=generator))

    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                draw(module.weight, -1, 1)
            elif isinstance(module, nn.modules.batchnorm._BatchNorm):
                draw(module.weight, -1, 1)
                draw(module.bias, -3, 3)
                assert module.running_mean is not None
                assert module.running_var is not None
                draw(module.running_mean, -3, 3)
                module.running_var.fill_(1.0 - module.eps)


@given(NETWORKS, st.integers(0, 2**31))
def test_residuals_agree_on_every_grid_bit_for_bit(network: tuple[MgNet, Tensor], seed: int) -> None:
    model, x = network
    integer_weights(model, seed)
    x = (8 * x).round()
    found = to_preact_resnet(model).forward_intermediates(x, intermediates_only=True)
    assert isinstance(found, list)
    wanted = residuals(model, x)
    assert max(tensor.abs().max() for tensor in wanted) < 2**45
    assert all(torch.equal(r, s) for r, s in zip(found, wanted, strict=True))


@given(NETWORKS)
def test_residuals_agree_in_training_mode_too(network: tuple[MgNet, Tensor]) -> None:
    model, x = network
    x = torch.cat([x, x + 1, x * 2])
    model.train()
    found = to_preact_resnet(model).forward_intermediates(x, intermediates_only=True)
    for r, s in zip(found, residuals(model, x), strict=True):
        torch.testing.assert_close(r, s, rtol=1e-7, atol=1e-8)


@given(NETWORKS)
def test_there_and_back_is_the_same_network_bit_for_bit(network: tuple[MgNet, Tensor]) -> None:
    model, x = network
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    back = to_mgnet(to_preact_resnet(model), completed_by=model)
    assert list(back.state_dict()) == list(before)
    for key, tensor in before.items():
        assert torch.equal(back.state_dict()[key], tensor), key
        assert torch.equal(model.state_dict()[key], tensor), f"{key} of the source was changed"
    assert torch.equal(back(x), model(x))


@given(NETWORKS)
def test_the_way_back_takes_pi_and_classifier_from_the_given_network_alone(network: tuple[MgNet, Tensor]) -> None:
    model, _ = network
    other = type(model)(model.notation, in_chans=model.in_chans, num_classes=3, dtype=torch.float64).eval()
    back = to_mgnet(to_preact_resnet(model), completed_by=other).state_dict()
    for key, tensor in model.state_dict().items():
        from_other = "Pi" in key or key.startswith("head.")
        assert torch.equal(back[key], other.state_dict()[key] if from_other else tensor), key


@given(NETWORKS)
def test_the_residual_network_has_no_interpolation(network: tuple[MgNet, Tensor]) -> None:
    model, _ = network
    converted = to_preact_resnet(model)
    assert not any("Pi" in key for key in converted.state_dict())
    assert [info["num_chs"] for info in converted.feature_info] == list(model.notation.c_f)


@given(NOTATIONS)
def test_different_notations_are_refused(notation: Notation) -> None:
    small = timm.create_model("mgnet", notation="MgNet[1]-[5]-B^l")
    other = timm.create_model("mgnet", notation=str(notation))
    with pytest.raises(ValueError, match="they must be of one notation"):
        to_mgnet(to_preact_resnet(other), completed_by=small)


def test_a_classifier_on_the_residual_can_be_trained() -> None:
    model = to_preact_resnet(timm.create_model("mgnet", notation="MgNet[2,1]-[(4,3),(5,6)]-B^l"))
    model.reset_classifier(7)
    model(torch.randn(4, 3, 8, 8)).square().sum().backward()
    assert [key for key, p in model.named_parameters() if p.grad is None] == []
