"""The folded network computes the function of the network it was made from, in fewer operations."""

import onnxruntime
import pytest
import timm
import torch
from hypothesis import given
from torch import nn

from mgnet_models import optimize_for_inference
from models.strategies import NETWORKS, count_calls, disturb_norms


def network(notation="MgNet[2,1]-[(6,4),(5,7)]-B^l", **options):
    model = timm.create_model("mgnet", notation=notation, num_classes=4, **options).eval()
    disturb_norms(model)
    return model


@given(NETWORKS)
def test_folding_changes_the_logits_by_rounding_only(generated):
    model, x = generated
    wanted = model(x)
    folded = optimize_for_inference(model)
    torch.testing.assert_close(folded(x), wanted, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(model(x), wanted, rtol=0, atol=0)


@given(NETWORKS)
def test_a_folded_network_runs_the_convolutions_of_the_residual_form_and_no_normalisation(generated):
    model, x = generated
    plain, folded = count_calls(model, lambda: model(x)), optimize_for_inference(model)
    assert sum(count_calls(folded, lambda: folded(x)).values()) == sum(plain.values())
    assert not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in folded.modules())


@pytest.mark.parametrize(
    "options",
    [
        {"stem": "imagenet"},
        {"act_layer": "gelu"},
        {"transfer_linear": True, "transfer_kernel": 1},
        {"drop_rate": 0.5, "drop_path_rate": 0.5},
    ],
)
def test_the_networks_options_are_folded_too(options):
    model = network(dtype=torch.float64, **options)
    x = torch.randn(2, 3, 33, 31, dtype=torch.float64)
    torch.testing.assert_close(optimize_for_inference(model)(x), model(x), rtol=1e-10, atol=1e-10)


def test_a_network_in_training_mode_is_folded_with_its_running_statistics_and_stays_in_training_mode():
    model = network(dtype=torch.float64)
    x = torch.randn(2, 3, 9, 9, dtype=torch.float64)
    wanted = model(x)
    torch.testing.assert_close(optimize_for_inference(model.train())(x), wanted, rtol=1e-10, atol=1e-10)
    assert model.training


def test_the_folded_network_shares_no_memory_with_its_origin_and_needs_no_gradients():
    model = network()
    folded = optimize_for_inference(model)
    mine = {tensor.untyped_storage().data_ptr() for tensor in model.state_dict().values()}
    assert mine.isdisjoint(tensor.untyped_storage().data_ptr() for tensor in folded.state_dict().values())
    assert not folded(torch.randn(1, 3, 8, 8)).requires_grad


def test_the_image_is_not_written_to():
    x = torch.randn(2, 3, 8, 8)
    before = x.clone()
    optimize_for_inference(network())(x)
    assert torch.equal(x, before)


def test_bfloat16_stays_within_its_rounding():
    model, x = network(), torch.randn(4, 3, 16, 16)
    wanted = model(x)
    seen = optimize_for_inference(model).bfloat16()(x.bfloat16())
    assert seen.dtype == torch.bfloat16
    assert (seen.float() - wanted).norm() <= 2**-5 * wanted.norm()


@pytest.mark.parametrize("notation", ["MgNet[2,1]-[(6,4),(5,7)]-B^l", "MgNet[2,2]-[4]-B^{l,i}"])
def test_the_folded_network_compiles_without_a_graph_break(notation):
    folded, x = optimize_for_inference(network(notation)), torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(torch.compile(folded, backend="eager", fullgraph=True)(x), folded(x))


@pytest.mark.nightly
def test_inductor_compiles_the_folded_network_with_frozen_weights():
    folded, x = optimize_for_inference(network()), torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(torch.compile(folded, options={"freezing": True})(x), folded(x), rtol=1e-4, atol=1e-5)


def test_the_folded_network_goes_to_onnx_without_a_normalisation(tmp_path):
    folded, x = optimize_for_inference(network()), torch.randn(2, 3, 16, 16)
    program = torch.onnx.export(folded, (x,), dynamo=True, verbose=False)
    program.save(tmp_path / "folded.onnx")
    assert not [node.op_type for node in program.model.graph if "Normalization" in node.op_type]
    session = onnxruntime.InferenceSession(tmp_path / "folded.onnx")
    seen = session.run(None, {session.get_inputs()[0].name: x.numpy()})[0]
    torch.testing.assert_close(torch.from_numpy(seen), folded(x), rtol=1e-4, atol=1e-5)


def test_group_normalisation_is_refused():
    with pytest.raises(ValueError, match=r"GroupNorm1Act cannot be folded: .* needs BatchNorm with running statistics"):
        optimize_for_inference(timm.create_model("mgnet", notation="MgNet[2]-[4]-B^l", norm_layer="groupnorm1"))


def test_another_network_is_refused():
    with pytest.raises(ValueError, match="ResNet has no folded form: give a MgNet"):
        optimize_for_inference(timm.create_model("resnet18", device="meta"))
