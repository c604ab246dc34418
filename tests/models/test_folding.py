"""The folded network computes the function of the network it was made from, in fewer operations."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import timm
import torch
from hypothesis import given
from onnxruntime.quantization import CalibrationDataReader, quantize_static
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune
from torch.utils._python_dispatch import TorchDispatchMode

from mgnet_models import MgNet, optimize_for_inference
from models.strategies import NETWORKS, count_calls, disturb_norms, grids_of


def network(notation: str = "MgNet[2,1]-[(6,4),(5,7)]-B^l", **options: Any) -> MgNet:
    model = timm.create_model("mgnet", notation=notation, num_classes=4, **options).eval()
    disturb_norms(model)
    return model


@given(NETWORKS)
def test_folding_changes_the_logits_by_rounding_only(generated: tuple[MgNet, Tensor]) -> None:
    model, x = generated
    wanted = model(x)
    folded = optimize_for_inference(model)
    torch.testing.assert_close(folded(x), wanted, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(model(x), wanted, rtol=0, atol=0)


@given(NETWORKS)
def test_a_folded_network_runs_the_convolutions_of_the_residual_form_and_no_normalization(generated: tuple[MgNet, Tensor]) -> None:
    model, x = generated
    plain, folded = count_calls(model, lambda: model(x)), optimize_for_inference(model)
    assert sum(count_calls(folded, lambda: folded(x)).values()) == sum(plain.values())
    assert not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in folded.modules())


@pytest.mark.parametrize(
    "options",
    [
        {"stem": "imagenet"},
        {"act_layer": "gelu"},
        {"transfer_sigma": "none", "transfer_kernel": 1},
        {"transfer_sigma": "norm"},
        {"drop_rate": 0.5, "drop_path_rate": 0.5},
    ],
    ids=["ImageNet stem", "GELU", "linear 1x1 transfers", "normalized transfers", "dropout"],
)
def test_the_networks_options_are_folded_too(options: dict[str, Any]) -> None:
    model = network(dtype=torch.float64, **options)
    x = torch.randn(2, 3, 33, 31, dtype=torch.float64)
    torch.testing.assert_close(optimize_for_inference(model)(x), model(x), rtol=1e-10, atol=1e-10)


def test_a_network_in_training_mode_is_folded_with_its_running_statistics_and_stays_in_training_mode() -> None:
    model = network(dtype=torch.float64)
    x = torch.randn(2, 3, 9, 9, dtype=torch.float64)
    wanted = model(x)
    torch.testing.assert_close(optimize_for_inference(model.train())(x), wanted, rtol=1e-10, atol=1e-10)
    assert model.training


def test_the_folded_network_shares_no_memory_with_its_origin_and_needs_no_gradients() -> None:
    model = network()
    folded = optimize_for_inference(model)
    mine = {tensor.untyped_storage().data_ptr() for tensor in model.state_dict().values()}
    assert mine.isdisjoint(tensor.untyped_storage().data_ptr() for tensor in folded.state_dict().values())
    assert not folded(torch.randn(1, 3, 8, 8)).requires_grad


def test_the_image_is_not_written_to() -> None:
    x = torch.randn(2, 3, 8, 8)
    before = x.clone()
    optimize_for_inference(network())(x)
    assert torch.equal(x, before)


def test_the_folded_network_in_bfloat16_stays_within_its_rounding() -> None:
    model, x = network(), torch.randn(4, 3, 16, 16)
    wanted = model(x)
    seen = optimize_for_inference(model).bfloat16()(x.bfloat16())
    assert seen.dtype == torch.bfloat16
    assert (seen.float() - wanted).norm() <= 2**-5 * wanted.norm()


@pytest.mark.parametrize("notation", ["MgNet[2,1]-[(6,4),(5,7)]-B^l", "MgNet[2,2]-[4]-B^{l,i}"], ids=["shared B", "own B"])
def test_the_folded_network_compiles_without_a_graph_break(notation: str) -> None:
    folded, x = optimize_for_inference(network(notation)), torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(torch.compile(folded, backend="eager", fullgraph=True)(x), folded(x))


@pytest.mark.nightly
def test_inductor_compiles_the_folded_network_with_frozen_weights() -> None:
    folded, x = optimize_for_inference(network()), torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(torch.compile(folded, options={"freezing": True})(x), folded(x), rtol=1e-4, atol=1e-5)


def test_the_folded_network_goes_to_onnx_without_a_normalization(tmp_path: Path) -> None:
    folded, x = optimize_for_inference(network()), torch.randn(2, 3, 16, 16)
    program = torch.onnx.export(folded, (x,), dynamo=True, verbose=False)
    assert program is not None
    program.save(tmp_path / "folded.onnx")
    assert not [node.op_type for node in program.model.graph if "Normalization" in node.op_type]
    session = onnxruntime.InferenceSession(tmp_path / "folded.onnx")
    seen = session.run(None, {session.get_inputs()[0].name: x.numpy()})[0]
    torch.testing.assert_close(torch.from_numpy(seen), folded(x), rtol=1e-4, atol=1e-5)


class Batches(CalibrationDataReader):
    """Images by which ONNX Runtime chooses the scales of activations."""

    def __init__(self, name: str, images: Tensor) -> None:
        self._batches = iter([{name: batch.numpy()} for batch in images.split(32)])

    def get_next(self) -> dict[str, Any] | None:
        return next(self._batches, None)


@pytest.mark.filterwarnings("ignore")  # the exporter's own deprecations
def test_the_way_to_int8_of_the_readme_keeps_the_classes(tmp_path: Path) -> None:
    model = timm.create_model("mgnet_2_2_c32_bl", pretrained=True).eval()
    images = (torch.tensor(load_digits().images, dtype=torch.float32)[:, None] / 16 - 0.3) / 0.37
    folded = optimize_for_inference(model, winograd=False)
    batch = torch.export.Dim("batch")
    torch.onnx.export(
        folded,
        (images[:8],),
        tmp_path / "folded.onnx",
        dynamo=True,
        verbose=False,
        dynamic_shapes=({0: batch},),
        external_data=False,
    )
    name = onnxruntime.InferenceSession(tmp_path / "folded.onnx").get_inputs()[0].name
    quantize_static(tmp_path / "folded.onnx", tmp_path / "int8.onnx", Batches(name, images[:256]), per_channel=True)
    session = onnxruntime.InferenceSession(tmp_path / "int8.onnx")
    seen = torch.from_numpy(session.run(None, {name: images[256:512].numpy()})[0])
    with torch.no_grad():
        wanted = model(images[256:512])
    assert (seen - wanted).norm() <= 0.05 * wanted.norm()
    assert (seen.argmax(1) == wanted.argmax(1)).float().mean() >= 0.98
    assert (tmp_path / "int8.onnx").stat().st_size < 0.6 * (tmp_path / "folded.onnx").stat().st_size


def test_group_normalization_is_refused() -> None:
    with pytest.raises(ValueError, match=r"is a GroupNorm1Act, which cannot be folded: .* needs timm.s BatchNorm"):
        optimize_for_inference(timm.create_model("mgnet", notation="MgNet[2]-[4]-B^l", norm_layer="groupnorm1"))


def test_another_network_is_refused() -> None:
    with pytest.raises(ValueError, match="ResNet has no folded form: give a MgNet"):
        optimize_for_inference(timm.create_model("resnet18", device="meta"))


def prune_half(convolution: nn.Module) -> None:
    prune.l1_unstructured(convolution, "weight", 0.5)


@pytest.mark.parametrize("layer", ["grids.0.A", "grids.0.B.0", "stem.theta", "grids.1.transfer.R"])
@pytest.mark.parametrize(
    "change, message",
    [
        (prune_half, "is computed by L1Unstructured at each call: make it permanent"),
        (parametrizations.weight_norm, "has a parametrized weight: call torch.nn.utils.parametrize.remove_parametrizations"),
    ],
    ids=["pruned", "weight norm"],
)
def test_a_weight_that_is_computed_is_rejected_with_what_to_call_first(
    layer: str, change: Callable[[nn.Module], object], message: str
) -> None:
    model = network()
    change(model.get_submodule(layer))
    with pytest.raises(ValueError, match=f"{layer} .*{message}") as error:
        optimize_for_inference(model)
    assert "\n" not in str(error.value)


def test_a_network_whose_pruning_was_made_permanent_is_folded() -> None:
    model = network(dtype=torch.float64)
    prune_half(grids_of(model)[0].A)
    prune.remove(grids_of(model)[0].A, "weight")
    x = torch.randn(2, 3, 9, 9, dtype=torch.float64)
    torch.testing.assert_close(optimize_for_inference(model)(x), model(x), rtol=1e-10, atol=1e-10)


def test_biases_of_system_and_smoother_are_kept() -> None:
    model = network(dtype=torch.float64)
    for convolution in (grids_of(model)[0].A, grids_of(model)[0].B[0]):
        convolution.bias = nn.Parameter(torch.randn(convolution.out_channels, dtype=torch.float64))
    x = torch.randn(2, 3, 9, 9, dtype=torch.float64)
    torch.testing.assert_close(optimize_for_inference(model)(x), model(x), rtol=1e-10, atol=1e-10)


def test_a_folded_network_is_a_mgnet_with_its_notation_features_and_hooks() -> None:
    model = network()
    seen: list[int] = []
    grids_of(model)[0].A.register_forward_hook(lambda *_: seen.append(1))
    folded = optimize_for_inference(model)
    x = torch.randn(2, 3, 9, 9)
    assert folded.notation == model.notation
    for found, wanted in zip(folded.forward_intermediates(x)[1], model.forward_intermediates(x)[1]):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    seen.clear()
    folded(x)
    assert len(seen) == model.notation.nu[0]
    torch.testing.assert_close(folded.forward_feature_form(x), folded(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 3])
def test_the_first_correction_is_the_first_feature_and_nothing_is_added_to_zero(batch: int) -> None:
    """Counted in additions of the finest grid: nu - 1, and nu where somebody else's u comes in, which is not lost."""
    folded = optimize_for_inference(MgNet("MgNet[3,1]-[4]-B^l", num_classes=2).eval(), winograd=False)
    finest = folded.grids[0]
    images = torch.randn(batch, 3, 8, 8)
    u, f = folded.stem(images)
    ones = torch.ones(1, 4, 1, 1).expand_as(u)
    with torch.no_grad():
        from_zero, counted = _additions(finest, u, f)
        from_one, all_counted = _additions(finest, ones, f)
    assert (counted, all_counted) == (2, 3)
    torch.testing.assert_close(from_one, from_zero + 1)


def _additions(grid: nn.Module, u: Tensor, r: Tensor) -> tuple[Tensor, int]:
    additions = 0

    class CountAdditions(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            nonlocal additions
            additions += func is torch.ops.aten.add.Tensor
            return func(*args, **(kwargs or {}))

    with CountAdditions():
        after: Tensor = grid((u, r))[0]
    return after, additions
