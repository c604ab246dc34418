"""use_winograd: which layers are converted, that nothing else changes, and that networks stay what they were."""

import copy
import sys
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

from mgnet_models import Conv3x3, MgNet, optimize_for_inference, use_winograd, winograd_backend
from models.strategies import disturb_norms, grids_of

needs_kernel = pytest.mark.skipif(winograd_backend() == "aten", reason="mgnet-kernels has no C code on this machine")
NOTATION = "MgNet[2,2]-[64]-B^l"


def network(**options: Any) -> MgNet:
    model = timm.create_model("mgnet", notation=NOTATION, num_classes=3, **options).train()
    disturb_norms(model)
    return model.to(memory_format=torch.channels_last)


def converted(model: nn.Module) -> set[str]:
    return {name for name, module in model.named_modules() if isinstance(module, Conv3x3)}


@needs_kernel
def test_wide_convolutions_of_stride_one_are_converted_in_place_and_shown() -> None:
    model = network()
    keys, parameters = list(model.state_dict()), list(model.parameters())
    assert use_winograd(model) is model
    assert converted(model) == {"grids.0.A", "grids.0.B.0", "grids.1.A", "grids.1.B.0"}
    assert list(model.state_dict()) == keys
    assert all(p is q for p, q in zip(model.parameters(), parameters))
    assert "(A): Conv3x3(64, 64" in str(model)


@needs_kernel
def test_outputs_and_gradients_are_those_of_the_direct_convolution_up_to_rounding() -> None:
    direct = network()
    winograd = use_winograd(copy.deepcopy(direct))
    x = torch.randn(4, 3, 16, 16).contiguous(memory_format=torch.channels_last)
    for model in (direct, winograd):
        model(x).square().sum().backward()
    torch.testing.assert_close(winograd(x), direct(x), rtol=1e-3, atol=1e-3)
    assert not torch.equal(winograd(x), direct(x))
    for (name, p), q in zip(winograd.named_parameters(), direct.parameters()):
        assert p.grad is not None
        assert q.grad is not None
        assert (p.grad - q.grad).norm() <= 2e-3 * q.grad.norm() + 1e-4, name


@needs_kernel
@pytest.mark.parametrize("mode", ["selective", "full", "sublinear"])
def test_a_recompute_mode_has_the_gradients_of_no_recompute(mode: str) -> None:
    model = network()
    use_winograd(model)
    x = torch.randn(4, 3, 16, 16).contiguous(memory_format=torch.channels_last)
    gradients: list[list[Tensor]] = []
    for chosen in ("none", mode):
        model.set_recompute(chosen)
        model.zero_grad(set_to_none=True)
        model(x).square().sum().backward()
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    for p, q in zip(*gradients):
        assert (p - q).norm() <= 1e-5 * q.norm() + 1e-6


@needs_kernel
def test_parametrized_pruned_padded_and_narrow_layers_are_left_alone() -> None:
    model = network().to(memory_format=torch.contiguous_format)  # prune views the weight as a vector
    parametrizations.weight_norm(grids_of(model)[0].A)
    prune.l1_unstructured(grids_of(model)[0].B[0], "weight", 0.5)
    grids_of(model)[1].A.padding_mode = "reflect"
    use_winograd(model)
    assert converted(model) == {"grids.1.B.0"}
    assert converted(use_winograd(timm.create_model("mgnet_2_2_c32_bl"))) == set()


@needs_kernel
def test_hooks_of_a_layer_stay() -> None:
    model = network()
    seen: list[tuple[int, ...]] = []
    grids_of(model)[0].A.register_forward_hook(lambda module, args, y: seen.append(tuple(y.shape)))
    use_winograd(model)(torch.randn(2, 3, 8, 8))
    assert seen == [(2, 64, 8, 8)] * 2


@needs_kernel
def test_a_converted_network_is_exported_with_plain_convolutions_and_compiled_with_one_operator() -> None:
    model = use_winograd(network()).eval()
    x = torch.randn(2, 3, 16, 16)
    program = torch.export.export(model, (x,))
    assert not [node for node in program.graph.nodes if "mgnet" in str(node.target)]
    torch.testing.assert_close(program.module()(x), model(x), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(torch.jit.script(model)(x), model(x), rtol=1e-3, atol=1e-3)
    torch.compiler.reset()
    torch.testing.assert_close(torch.compile(model, backend="aot_eager", fullgraph=True)(x), model(x), rtol=1e-4, atol=1e-4)


@needs_kernel
@pytest.mark.parametrize("notation", ["MgNet[2,1]-[128]-B^l", "MgNet[1,2]-[(128,144)]-B^{l,i}"])
def test_a_folded_network_uses_winograd_unless_told_otherwise(notation: str) -> None:
    model = timm.create_model("mgnet", notation=notation, num_classes=4).eval()
    disturb_norms(model)
    x = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        wanted = copy.deepcopy(model).double()(x.double())
        direct, winograd = (optimize_for_inference(model, winograd=choice) for choice in (False, True))
        assert converted(direct) == set()
        assert len(converted(winograd)) == 5  # three smoothers, and A of each grid
        for folded in (direct, winograd):
            assert (folded(x) - wanted).norm() <= 1e-5 * wanted.norm()
        assert not torch.equal(winograd(x), direct(x))


def test_without_mgnet_kernels_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mgnet_kernels", None)
    assert winograd_backend() == "aten"
    assert converted(use_winograd(network())) == set()
