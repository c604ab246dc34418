"""MgNet: the two forms compute one function, with the convolutions and multiply-adds that each of them needs."""

from typing import Any

import pytest
import timm
import torch
from hypothesis import given
from timm.models import is_model
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from mgnet_models import MgNet, Notation, check_image_size
from models.strategies import NETWORKS, count_calls

NAME = "mgnet_2_2_2_2_c256_bl"


@given(NETWORKS)
def test_residual_form_and_feature_form_give_the_same_logits(network: tuple[MgNet, Tensor]) -> None:
    model, x = network
    torch.testing.assert_close(model(x), model.forward_feature_form(x), rtol=1e-10, atol=1e-10)


@given(NETWORKS)
def test_both_forms_give_the_same_gradients_and_running_statistics_in_training(network: tuple[MgNet, Tensor]) -> None:
    model, x = network
    check = torch.cat([x, x + 1, x.flip(0) * 2])  # statistics of one 1x1 image are not defined
    model.train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    results = []
    for form in (model.forward, model.forward_feature_form):
        model.load_state_dict(before)
        model.zero_grad(set_to_none=True)
        form(check).square().sum().backward()
        gradients = {key: parameter.grad for key, parameter in model.named_parameters()}
        results.append((gradients, {key: value.clone() for key, value in model.named_buffers()}))
    (residual, residual_buffers), (feature, feature_buffers) = results
    scale = max(gradient.abs().max() for gradient in feature.values() if gradient is not None)
    for key, gradient in residual.items():
        if gradient is not None:
            torch.testing.assert_close(gradient, feature[key], rtol=1e-6, atol=1e-9 * float(scale), msg=key)
    torch.testing.assert_close(residual_buffers, feature_buffers, rtol=1e-8, atol=1e-8)


@given(NETWORKS)
def test_each_convolution_runs_as_often_as_its_form_needs(network: tuple[MgNet, Tensor]) -> None:
    model, x = network
    residual = count_calls(model, lambda: model(x))
    feature = count_calls(model, lambda: model.forward_feature_form(x))
    J = len(model.notation.nu)
    for index, nu in enumerate(model.notation.nu):
        last = index == J - 1
        assert residual[f"grids.{index}.A"] == nu - last
        assert feature[f"grids.{index}.A"] == nu + (index > 0) + (not last)
        smoothings = [calls for name, calls in residual.items() if name.startswith(f"grids.{index}.B")]
        assert smoothings == ([nu] if model.notation.share_B else [1] * nu)
        if index > 0:
            assert residual[f"grids.{index}.transfer.Pi"] == residual[f"grids.{index}.transfer.R"] == 1


@pytest.mark.parametrize(
    "method, convolutions, macs",
    [("forward", 21, 3_602_670_592), ("forward_feature_form", 28, 4_603_012_096)],
    ids=["residual form", "feature form"],
)
def test_the_papers_model_runs_with_the_stated_convolutions_and_multiply_adds(method: str, convolutions: int, macs: int) -> None:
    model = timm.create_model(NAME, num_classes=100, device="meta").eval()
    x = torch.empty(1, 3, 32, 32, device="meta")
    calls = count_calls(model, lambda: getattr(model, method)(x))
    assert sum(calls.values()) - calls["stem.theta"] == convolutions
    with FlopCounterMode(display=False) as counter:
        getattr(model, method)(x)
    assert counter.get_total_flops() == 2 * macs


def test_the_papers_model_has_exactly_its_parameters() -> None:
    model = timm.create_model(NAME, num_classes=100, device="meta")
    assert sum(parameter.numel() for parameter in model.parameters()) == 8_301_924


@given(NETWORKS)
def test_no_tensor_has_two_names(network: tuple[MgNet, Tensor]) -> None:
    model, _ = network
    assert len(dict(model.named_parameters())) == len(dict(model.named_parameters(remove_duplicate=False)))
    storages = [tensor.untyped_storage().data_ptr() for tensor in model.state_dict().values()]
    assert len(storages) == len(set(storages))


@given(NETWORKS)
def test_every_parameter_that_asks_for_a_gradient_gets_one(network: tuple[MgNet, Tensor]) -> None:
    model, x = network
    model.train()
    model(torch.cat([x, x + 1, x * 2])).square().sum().backward()
    without = [key for key, parameter in model.named_parameters() if parameter.requires_grad and parameter.grad is None]
    assert without == []


@given(NETWORKS)
def test_checkpointing_changes_neither_gradients_nor_running_statistics(network: tuple[MgNet, Tensor]) -> None:
    model, x = network
    x = torch.cat([x, x + 1, x * 2])
    model.train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    results = []
    for enable in (False, True):
        model.load_state_dict(before)
        model.zero_grad(set_to_none=True)
        model.set_grad_checkpointing(enable)
        model(x).square().sum().backward()
        gradients = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
        results.append((gradients, [value.clone() for value in model.buffers()]))
    assert all(torch.equal(p, q) if p is not None and q is not None else p is q for p, q in zip(results[0][0], results[1][0]))
    assert all(torch.equal(p, q) for p, q in zip(results[0][1], results[1][1]))


def test_dropping_paths_leaves_both_forms_equal() -> None:
    model = timm.create_model("mgnet", notation="MgNet[3,3]-[(4,3),(5,6)]-B^l", drop_path_rate=0.5, dtype=torch.float64).train()
    x = torch.randn(6, 3, 8, 8, dtype=torch.float64)
    outputs: list[Tensor] = []
    for form in (model.forward, model.forward_feature_form, model.forward):
        torch.manual_seed(len(outputs) // 2)
        outputs.append(form(x))
    torch.testing.assert_close(outputs[0], outputs[1], rtol=1e-10, atol=1e-10)
    assert not torch.allclose(outputs[0], outputs[2])


def test_an_unknown_stem_is_refused() -> None:
    with pytest.raises(ValueError, match="stem='mnist' is unknown: use 'cifar'"):
        timm.create_model("mgnet", notation="MgNet[1]-[4]-B^l", stem="mnist")


def test_the_generic_entry_needs_its_notation() -> None:
    with pytest.raises(ValueError, match="mgnet needs its configuration"):
        timm.create_model("mgnet")


def test_the_generic_entry_builds_what_the_notation_says() -> None:
    model = timm.create_model("mgnet", notation="MgNet[4,2,2]-[(64,32),(128,64),(256,128)]-B^{l,i}", device="meta")
    assert model.notation == Notation(nu=(4, 2, 2), c_u=(64, 128, 256), c_f=(32, 64, 128), share_B=False)
    assert [grid.A.weight.shape[:2] for grid in model.grids] == [(32, 64), (64, 128), (128, 256)]
    check_image_size(model.notation, model.stem_kind, (32, 32))


def test_a_configuration_of_the_tables_is_a_name_and_one_of_no_table_is_none() -> None:
    assert is_model(NAME)
    assert not is_model("mgnet_2_2_2_2_c257_bl")


@pytest.mark.parametrize(
    "options, parameters",
    [
        ({"transfer_kernel": 1}, 5_156_196),  # six 3x3 kernels become 1x1
        ({"transfer_sigma": "norm"}, 8_301_924),
        ({"transfer_sigma": "none"}, 8_301_924 - 3 * 2 * 2 * 256),  # six BatchNorms go
        ({"transfer_kernel": 1, "transfer_sigma": "none"}, 5_156_196 - 3 * 2 * 2 * 256),
    ],
    ids=["1x1", "normalized", "linear", "linear 1x1"],
)
def test_transfers_as_the_text_prints_them_have_their_exact_counts(options: dict[str, Any], parameters: int) -> None:
    model = timm.create_model(NAME, num_classes=100, device="meta", **options)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


def test_both_forms_agree_with_the_transfers_of_the_text() -> None:
    notation = "MgNet[2,1,2]-[(4,3),(5,6),(3,3)]-B^l"
    model = timm.create_model("mgnet", notation=notation, transfer_kernel=1, transfer_sigma="none", dtype=torch.float64)
    x = torch.randn(2, 3, 11, 9, dtype=torch.float64)
    torch.testing.assert_close(model(x), model.forward_feature_form(x), rtol=1e-10, atol=1e-10)
