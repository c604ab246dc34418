"""The memory modes: what they keep is a matter of counting, and all else stays as plain autograd has it."""

from collections.abc import Callable

import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from mgnet_models import MgNet, ShortConvolutions
from mgnet_models.runtime import winograd_in_c
from mgnet_models.runtime.saved_tensors import saved_bytes
from models.strategies import NETWORKS, count_calls, disturb_norms

LEAN_MODES = ("lean", "leaner", "deep")


def results(model: nn.Module, call: Callable[[], Tensor]) -> tuple[Tensor, dict[str, Tensor | None], dict[str, Tensor]]:
    """Output, gradients of its squared sum, and buffers after the call, from the same start each time."""
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.zero_grad(set_to_none=True)
    torch.manual_seed(0)
    y = call()
    y.float().square().sum().backward()
    buffers = {key: value.clone() for key, value in model.named_buffers()}
    model.load_state_dict(before)
    return y.detach(), {key: parameter.grad for key, parameter in model.named_parameters()}, buffers


def require_same(seen, wanted, *, rtol):
    """Equal bits of outputs and buffers; gradients within `rtol` of their own size, or of the largest where they vanish."""
    torch.testing.assert_close(seen[0], wanted[0], rtol=0, atol=0)
    torch.testing.assert_close(seen[2], wanted[2], rtol=0, atol=0)
    scale = max(float(gradient.norm()) for gradient in wanted[1].values() if gradient is not None)
    for key, gradient in wanted[1].items():
        if gradient is None:
            assert seen[1][key] is None, key
        else:
            assert (seen[1][key] - gradient).norm() <= rtol * max(float(gradient.norm()), 1e-3 * scale), key


@given(NETWORKS, st.sampled_from(LEAN_MODES), st.booleans())
def test_a_mode_changes_no_output_no_gradient_and_no_running_statistic(network, mode, training):
    model, x = network
    x = torch.cat([x, x + 1, x * 2])
    model.train(training)
    wanted = results(model, lambda: model(x))
    model.set_memory_mode(mode)
    require_same(results(model, lambda: model(x)), wanted, rtol=1e-9)


@pytest.mark.parametrize("mode", LEAN_MODES)
@pytest.mark.parametrize("notation", ["MgNet[9,2]-[(6,4),(5,7)]-B^l", "MgNet[7,1]-[5]-B^{l,i}"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_runs_of_several_iterations_with_dropped_paths_under_autocast_agree_too(mode, notation, layout):
    model = timm.create_model("mgnet", notation=notation, num_classes=3, drop_path_rate=0.4).to(memory_format=layout).train()
    disturb_norms(model)
    x = torch.randn(5, 3, 12, 10).contiguous(memory_format=layout)

    def call():
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return model(x)

    wanted = results(model, call)
    model.set_memory_mode(mode)
    # bfloat16 has 8 bits; only the order in which a shared weight's gradients are added may differ
    require_same(results(model, call), wanted, rtol=2**-5)


@pytest.mark.skipif(winograd_in_c.why_not() is not None, reason=str(winograd_in_c.why_not()))
@pytest.mark.parametrize("mode", LEAN_MODES)
@pytest.mark.parametrize("notation", ["MgNet[5,2]-[128]-B^l", "MgNet[2,2]-[(128,144),(144,160)]-B^{l,i}"])
def test_short_convolutions_serve_both_passes_of_a_mode(mode, notation):
    # In the layout of the short way's results: elsewhere sums of statistics would run in other orders.
    model = timm.create_model("mgnet", notation=notation, num_classes=3).to(memory_format=torch.channels_last).train()
    disturb_norms(model)
    x = torch.randn(4, 3, 16, 16).contiguous(memory_format=torch.channels_last)

    def call():
        with ShortConvolutions():
            return model(x)

    wanted = results(model, call)
    model.set_memory_mode(mode)
    direct = results(model, lambda: model(x))
    seen = results(model, call)
    # A recomputed convolution rounds as the first one did, so that no ReLU switches: far closer than the direct way.
    require_same(seen, wanted, rtol=1e-5)
    assert not torch.equal(seen[0], direct[0])


def test_a_backward_pass_inside_autocast_stays_in_the_precision_of_its_forward_pass():
    model = timm.create_model("mgnet", notation="MgNet[4,2]-[4]-B^l", num_classes=3).train()
    x = torch.randn(4, 3, 8, 8)
    wanted = results(model, lambda: model(x))
    model.set_memory_mode("deep")
    y = model(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y.square().sum().backward()
    for key, parameter in model.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(parameter.grad, wanted[1][key], rtol=1e-4, atol=1e-4, msg=key)


@pytest.mark.parametrize("mode", LEAN_MODES)
def test_frozen_weights_and_frozen_norms_stay_frozen(mode):
    model = timm.create_model("mgnet", notation="MgNet[3,2]-[4]-B^l", num_classes=3, dtype=torch.float64).train()
    disturb_norms(model)
    model.grids[0].A.requires_grad_(False)
    model.grids[0].B.requires_grad_(False)
    model.grids[0].sigma_r.eval()
    x = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    wanted = results(model, lambda: model(x))
    model.set_memory_mode(mode)
    seen = results(model, lambda: model(x))
    require_same(seen, wanted, rtol=1e-9)
    assert seen[1]["grids.0.A.weight"] is None


@pytest.mark.parametrize("mode", ["default", *LEAN_MODES])
def test_a_grid_can_be_differentiated_by_each_of_its_arguments_and_results(mode):
    model = timm.create_model("mgnet", notation="MgNet[5,2]-[(3,2),(2,4)]-B^l", dtype=torch.float64).train()
    model.set_memory_mode(mode)
    start = [torch.randn(2, c, 5, 4, dtype=torch.float64, requires_grad=True) for c in (3, 2)]
    for grids in (1, 2):
        for weight_u, weight_r in ((1.0, 0.0), (0.0, 1.0), (1.0, 1.0)):

            def total(u, r, grids=grids, weights=(weight_u, weight_r)):
                state = (u, r)
                for grid in model.grids[:grids]:
                    state = grid(state)
                return sum(weight * part.sin().sum() for weight, part in zip(weights, state) if weight)

            assert torch.autograd.gradcheck(total, tuple(start))


# Full tensors behind one iteration: r, sigma(r), B * sigma(r), s, and in the literal form u too (of 5). What stem, transfers
# and the coarse grids keep is in the shares below.
@pytest.mark.parametrize(
    ("notation", "size", "shares"),
    [
        ("MgNet[2,2,2,2]-[64]-B^l", 32, {"default": 0.81, "lean": 0.53, "leaner": 0.39, "deep": 0.39}),
        ("MgNet[2,2,2,2]-[256]-B^l", 32, {"default": 0.81, "lean": 0.53, "leaner": 0.39, "deep": 0.39}),
        ("MgNet[32,2,2,2]-[64]-B^l", 32, {"default": 0.81, "lean": 0.42, "leaner": 0.23, "deep": 0.08}),
    ],
)
def test_each_mode_keeps_no_more_than_its_share_of_what_the_literal_form_keeps(notation, size, shares):
    model = timm.create_model("mgnet", notation=notation, num_classes=100).train()
    x = torch.randn(2, 3, size, size)
    literal = saved_bytes(model, lambda: model.forward_feature_form(x))
    for mode, share in shares.items():
        model.set_memory_mode(mode)
        assert saved_bytes(model, lambda: model(x)) <= share * literal, mode


@pytest.mark.parametrize("mode", LEAN_MODES)
def test_a_deeper_grid_runs_its_convolutions_only_inside_the_mode(mode):
    model = timm.create_model("mgnet", notation="MgNet[4,2]-[4]-B^l", num_classes=3).train()
    model.set_memory_mode(mode)
    x = torch.randn(2, 3, 8, 8)
    assert {count for name, count in count_calls(model, lambda: model(x)).items() if ".A" in name or ".B" in name} == {0}
    with torch.no_grad():
        assert count_calls(model, lambda: model(x))["grids.0.A"] == 4


def test_modes_can_be_changed_back():
    model = timm.create_model("mgnet", notation="MgNet[2,2]-[4]-B^l", num_classes=3).train()
    x = torch.randn(2, 3, 8, 8)
    default = saved_bytes(model, lambda: model(x))
    model.set_memory_mode("leaner")
    assert saved_bytes(model, lambda: model(x)) < default
    model.set_memory_mode("default")
    assert saved_bytes(model, lambda: model(x)) == default


def test_an_unknown_mode_is_refused_with_a_near_name():
    model = MgNet("MgNet[2]-[4]-B^l")
    with pytest.raises(ValueError, match="memory mode 'deap' is unknown: use 'deep'"):
        model.set_memory_mode("deap")


@pytest.mark.parametrize("options", [{"norm_layer": "groupnorm1"}, {"act_layer": "gelu"}])
def test_a_sigma_without_batch_statistics_or_relu_is_refused_and_changes_nothing(options):
    model = timm.create_model("mgnet", notation="MgNet[2,2]-[4]-B^l", **options)
    with pytest.raises(
        ValueError, match=r"memory mode 'lean' recomputes .*, this network has .* with .*: use set_grad_checkpointing"
    ):
        model.set_memory_mode("lean")
    assert {grid.memory_mode for grid in model.grids} == {"default"}


def test_norms_exchanged_after_the_choice_of_a_mode_are_refused_too():
    model = timm.create_model("mgnet", notation="MgNet[2,2]-[4]-B^l").train()
    model.set_memory_mode("lean")
    model.grids[0].sigma_r[1] = nn.BatchNorm2d(4)
    with pytest.raises(ValueError, match="memory mode 'lean' recomputes BatchNorm and ReLU, this network has BatchNorm2d:"):
        model(torch.randn(2, 3, 8, 8))


@pytest.mark.parametrize("mode", ["default", *LEAN_MODES])
def test_one_value_in_a_channel_is_refused_in_training(mode):
    model = timm.create_model("mgnet", notation="MgNet[2,2]-[4]-B^l").train()
    model.set_memory_mode(mode)
    model.stem.eval()
    with pytest.raises(ValueError, match="Expected more than 1 value per channel when training"):
        model(torch.randn(1, 3, 1, 1))
