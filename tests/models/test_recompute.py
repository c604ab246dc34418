"""The recompute modes: what they keep is a matter of counting, and all else stays as plain autograd has it."""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import pytest
import timm
import torch
from benchmarks.saved_tensors import saved_bytes
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

from mgnet_models import RECOMPUTE_MODES, MgNet, RecomputeMode
from models.small_networks import SMALL, build
from models.strategies import NETWORKS, count_calls, disturb_norms, grids_of

MODES = RECOMPUTE_MODES[1:]
every_mode = pytest.mark.parametrize("mode", MODES)


class Results(NamedTuple):
    """What a training step makes."""

    output: Tensor
    gradients: dict[str, Tensor | None]
    buffers: dict[str, Tensor]


def results(model: nn.Module, call: Callable[[], Tensor]) -> Results:
    """Output, gradients of its squared sum, and buffers after the call, from the same start each time."""
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.zero_grad(set_to_none=True)
    torch.manual_seed(0)
    y = call()
    y.float().square().sum().backward()
    buffers = {key: value.clone() for key, value in model.named_buffers()}
    model.load_state_dict(before)
    return Results(y.detach(), {key: parameter.grad for key, parameter in model.named_parameters()}, buffers)


def require_same(seen: Results, wanted: Results, *, rtol: float) -> None:
    """Equal bits of outputs and buffers; gradients within `rtol` of their own size, or of the largest where they vanish."""
    torch.testing.assert_close(seen.output, wanted.output, rtol=0, atol=0)
    torch.testing.assert_close(seen.buffers, wanted.buffers, rtol=0, atol=0)
    scale = max(float(gradient.norm()) for gradient in wanted.gradients.values() if gradient is not None)
    for key, gradient in wanted.gradients.items():
        mine = seen.gradients[key]
        if gradient is None or mine is None:
            assert mine is gradient, key
        else:
            assert (mine - gradient).norm() <= rtol * max(float(gradient.norm()), 1e-3 * scale), key


def network(notation: str = "MgNet[4,2]-[(6,4),(5,7)]-B^l", **options: Any) -> MgNet:
    model = timm.create_model("mgnet", notation=notation, num_classes=3, **options).train()
    disturb_norms(model)
    return model


@given(NETWORKS, st.sampled_from(MODES), st.booleans())
def test_a_mode_changes_no_output_no_gradient_and_no_running_statistic(
    generated: tuple[MgNet, Tensor], mode: RecomputeMode, training: bool
) -> None:
    model, x = generated
    x = torch.cat([x, x + 1, x * 2])
    model.train(training)
    wanted = results(model, lambda: model(x))
    model.set_recompute(mode)
    require_same(results(model, lambda: model(x)), wanted, rtol=1e-9)


@every_mode
@pytest.mark.parametrize("notation", ["MgNet[9,2]-[(6,4),(5,7)]-B^l", "MgNet[7,1]-[5]-B^{l,i}"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["contiguous", "channels_last"])
def test_runs_of_several_iterations_with_dropped_paths_under_autocast_agree_too(
    mode: RecomputeMode, notation: str, layout: torch.memory_format
) -> None:
    model = network(notation, drop_path_rate=0.4).to(memory_format=layout)
    x = torch.randn(5, 3, 12, 10).contiguous(memory_format=layout)

    def call() -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return model(x)

    wanted = results(model, call)
    model.set_recompute(mode)
    # bfloat16 has 8 bits; only the order in which a shared weight's gradients are added may differ
    require_same(results(model, call), wanted, rtol=2**-5)


@pytest.mark.parametrize("forward", [False, True], ids=["float32", "bfloat16"])
def test_autocast_around_the_backward_pass_alone_changes_nothing_that_is_computed_again(forward: bool) -> None:
    model = network("MgNet[4,2]-[4]-B^l")
    x = torch.randn(4, 3, 8, 8)
    gradients = []
    for mode in RECOMPUTE_MODES:
        model.set_recompute(mode)
        model.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=forward):
            y = model(x)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=not forward):
            y.float().square().sum().backward()
        gradients.append({key: parameter.grad for key, parameter in model.named_parameters() if parameter.grad is not None})
    for mode, seen in zip(MODES, gradients[1:]):
        for key, wanted in gradients[0].items():
            torch.testing.assert_close(seen[key], wanted, rtol=1e-6, atol=1e-6 * float(wanted.abs().max()), msg=f"{mode} {key}")


@every_mode
def test_frozen_weights_and_frozen_norms_stay_frozen(mode: RecomputeMode) -> None:
    model = network("MgNet[3,2]-[4]-B^l", dtype=torch.float64)
    grids_of(model)[0].A.requires_grad_(False)
    grids_of(model)[0].B.requires_grad_(False)
    grids_of(model)[0].sigma_r.eval()
    x = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    wanted = results(model, lambda: model(x))
    model.set_recompute(mode)
    seen = results(model, lambda: model(x))
    require_same(seen, wanted, rtol=1e-9)
    assert seen.gradients["grids.0.A.weight"] is None


@pytest.mark.parametrize("mode", RECOMPUTE_MODES)
def test_a_grid_can_be_differentiated_twice_by_each_of_its_arguments_and_results(mode: RecomputeMode) -> None:
    model = network("MgNet[3,2]-[(3,2),(2,4)]-B^l", dtype=torch.float64)
    model.set_recompute(mode)
    start = tuple(torch.randn(2, c, 4, 3, dtype=torch.float64, requires_grad=True) for c in (3, 2))
    for grids in (1, 2):
        for weights in ((1.0, 0.0), (0.0, 1.0), (1.0, 1.0)):

            def total(u: Tensor, r: Tensor, grids: int = grids, weights: tuple[float, float] = weights) -> Tensor:
                state = u, r
                for grid in grids_of(model)[:grids]:
                    state = grid(state)
                return torch.stack([weight * part.sin().sum() for weight, part in zip(weights, state) if weight]).sum()

            assert torch.autograd.gradcheck(total, start)
    assert torch.autograd.gradgradcheck(total, start)


@every_mode
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_a_gradient_penalty_has_the_gradients_of_plain_autograd(mode: RecomputeMode, training: bool) -> None:
    model = network(dtype=torch.float64).train(training)
    x = torch.randn(3, 3, 8, 8, dtype=torch.float64)

    def penalty() -> Tensor:
        images = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(model(images).square().sum(), images, create_graph=True)
        return gradient.square().sum()

    wanted = results(model, penalty)
    model.set_recompute(mode)
    seen = results(model, penalty)
    torch.testing.assert_close(seen.output, wanted.output)
    require_same(seen._replace(output=wanted.output), wanted, rtol=1e-8)


@every_mode
def test_a_graph_that_is_kept_can_be_differentiated_again(mode: RecomputeMode) -> None:
    model = network()
    model.set_recompute(mode)
    loss = model(torch.randn(3, 3, 8, 8)).square().sum()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    first = torch.autograd.grad(loss, parameters, retain_graph=True)
    second = torch.autograd.grad(loss, parameters)
    assert all(torch.equal(p, q) for p, q in zip(first, second))


# Full tensors behind one iteration: r, sigma(r), B * sigma(r), s, and in the feature form u too (of 5). What stem, transfers
# and the coarse grids keep is in the shares below.
@pytest.mark.parametrize(
    "notation, shares",
    [
        ("MgNet[2,2,2,2]-[64]-B^l", {"none": 0.81, "selective": 0.53, "full": 0.39, "sublinear": 0.39}),
        ("MgNet[2,2,2,2]-[256]-B^l", {"none": 0.81, "selective": 0.53, "full": 0.39, "sublinear": 0.39}),
        ("MgNet[32,2,2,2]-[64]-B^l", {"none": 0.81, "selective": 0.42, "full": 0.23, "sublinear": 0.08}),
    ],
    ids=["64 channels", "256 channels", "32 iterations"],
)
def test_each_mode_keeps_no_more_than_its_share_of_what_the_feature_form_keeps(notation: str, shares: dict[str, float]) -> None:
    model = timm.create_model("mgnet", notation=notation, num_classes=100).train()
    x = torch.randn(2, 3, 32, 32)
    feature_form = saved_bytes(model, lambda: model.forward_feature_form(x))
    for mode, share in shares.items():
        model.set_recompute(mode)
        assert saved_bytes(model, lambda: model(x)) <= share * feature_form, mode


@every_mode
def test_dropped_paths_keep_no_tensor_more(mode: RecomputeMode) -> None:
    x = torch.randn(4, 3, 16, 16)
    kept = []
    for rate in (0.0, 0.5):
        model = network("MgNet[6,2]-[8]-B^l", drop_path_rate=rate)
        model.set_recompute(mode)
        kept.append(saved_bytes(model, partial(model, x)))
    assert kept[1] <= 1.05 * kept[0]


class LowRank(nn.Module):
    """A convolution with a low-rank correction beside it, as LoRA has it: no `weight`, and dropout on the correction."""

    def __init__(self, base: nn.Conv2d) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.down = nn.Conv2d(base.in_channels, 2, 3, padding=1, bias=False, dtype=base.weight.dtype)
        self.dropout = nn.Dropout(0.3)
        self.up = nn.Conv2d(2, base.out_channels, 1, dtype=base.weight.dtype)

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.up(self.dropout(self.down(x)))


def wrap_low_rank(grid: Any) -> None:
    grid.A = LowRank(grid.A)
    grid.B[0] = LowRank(grid.B[0])


def prune_half(grid: Any) -> None:
    prune.l1_unstructured(grid.A, "weight", 0.5)
    prune.l1_unstructured(grid.B[0], "weight", 0.5)


def normalize_weights(grid: Any) -> None:
    parametrizations.weight_norm(grid.A)
    parametrizations.weight_norm(grid.B[0])


@every_mode
@pytest.mark.parametrize("change", [wrap_low_rank, prune_half, normalize_weights], ids=["LoRA", "pruned", "weight norm"])
def test_wrapped_pruned_and_parametrized_convolutions_train_as_without_a_mode(
    mode: RecomputeMode, change: Callable[[Any], None]
) -> None:
    model = network("MgNet[3,2]-[5]-B^l", dtype=torch.float64)
    for grid in grids_of(model):
        change(grid)
    x = torch.randn(3, 3, 8, 8, dtype=torch.float64)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.01)
    start = copy.deepcopy(model.state_dict())
    outputs = []
    for chosen in ("none", mode):
        model.load_state_dict(start)
        model.set_recompute(chosen)
        torch.manual_seed(0)
        for _ in range(3):  # a stale mask would show after the first step
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()
        torch.manual_seed(1)
        outputs.append(model(x).detach())
    torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-9, atol=1e-9)


@every_mode
@pytest.mark.parametrize(
    "options", [{"norm_layer": "groupnorm1"}, {"act_layer": "gelu"}, {"norm_layer": "layernorm2d", "act_layer": "silu"}], ids=str
)
def test_every_sigma_can_be_recomputed(mode: RecomputeMode, options: dict[str, str]) -> None:
    model = timm.create_model("mgnet", notation="MgNet[3,2]-[4]-B^l", num_classes=3, dtype=torch.float64, **options)
    x = torch.randn(3, 3, 8, 8, dtype=torch.float64)
    wanted = results(model, lambda: model(x))
    model.set_recompute(mode)
    require_same(results(model, lambda: model(x)), wanted, rtol=1e-9)


@every_mode
def test_norms_exchanged_after_the_choice_of_a_mode_count_too(mode: RecomputeMode) -> None:
    model = network("MgNet[3,2]-[4]-B^l", dtype=torch.float64)
    model.set_recompute(mode)
    grids_of(model)[0].sigma_r[1] = nn.BatchNorm2d(4, dtype=torch.float64)
    x = torch.randn(3, 3, 8, 8, dtype=torch.float64)
    seen = results(model, lambda: model(x))
    model.set_recompute("none")
    require_same(seen, results(model, lambda: model(x)), rtol=1e-9)


@every_mode
def test_a_change_to_evaluation_between_the_passes_changes_no_gradient(mode: RecomputeMode) -> None:
    model = network(dtype=torch.float64)
    x = torch.randn(3, 3, 8, 8, dtype=torch.float64)

    def call() -> Tensor:
        y = model.train()(x)
        model.eval()
        return y

    wanted = results(model, call)
    model.set_recompute(mode)
    require_same(results(model, call), wanted, rtol=1e-9)


@every_mode
def test_hooks_of_the_convolutions_run_in_every_mode(mode: RecomputeMode) -> None:
    model = network("MgNet[4,2]-[4]-B^l")
    model.set_recompute(mode)
    x = torch.randn(2, 3, 8, 8)
    calls = count_calls(model, lambda: model(x))
    assert (calls["grids.0.A"], calls["grids.0.B.0"]) == (4, 4)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_without_gradients_a_mode_does_nothing() -> None:
    model = network().eval()
    x = torch.randn(2, 3, 8, 8)
    wanted = model(x)
    for mode in MODES:
        model.set_recompute(mode)
        with torch.no_grad():
            assert torch.equal(model(x), wanted)


@every_mode
def test_a_network_with_a_mode_is_traced_scripted_and_compiled_as_without(mode: RecomputeMode) -> None:
    model = network()
    model.set_recompute(mode)
    x = torch.randn(2, 3, 8, 8)
    model.eval()
    torch.testing.assert_close(torch.fx.symbolic_trace(model)(x), model(x))
    torch.testing.assert_close(torch.jit.script(model)(x), model(x))
    torch.compiler.reset()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), model(x))


@every_mode
def test_a_copy_of_a_network_recomputes_with_its_own_weights(mode: RecomputeMode) -> None:
    model = network(dtype=torch.float64)
    model.set_recompute(mode)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    x = torch.randn(3, 3, 8, 8, dtype=torch.float64)
    seen = results(twin, lambda: twin(x))
    twin.set_recompute("none")
    require_same(seen, results(twin, lambda: twin(x)), rtol=1e-9)


def test_modes_can_be_changed_back() -> None:
    model = network("MgNet[2,2]-[4]-B^l")
    x = torch.randn(2, 3, 8, 8)
    plain = saved_bytes(model, lambda: model(x))
    for mode in MODES:
        model.set_recompute(mode)
        assert model.recompute == mode
        assert saved_bytes(model, lambda: model(x)) < plain
    model.set_recompute("none")
    assert saved_bytes(model, lambda: model(x)) == plain


def test_an_unknown_mode_is_rejected_with_a_near_name() -> None:
    model = MgNet("MgNet[2]-[4]-B^l")
    with pytest.raises(ValueError, match="recompute mode 'selectiv' is unknown: use 'selective'"):
        model.set_recompute("selectiv")


@every_mode
def test_a_mode_and_gradient_checkpointing_together_are_rejected(mode: RecomputeMode) -> None:
    model = MgNet("MgNet[2]-[4]-B^l")
    model.set_recompute(mode)
    with pytest.raises(ValueError, match=f"set_grad_checkpointing with recompute mode '{mode}': call set_recompute"):
        model.set_grad_checkpointing()
    model.set_grad_checkpointing(False)
    assert model.recompute == mode
    model.set_recompute("none")
    model.set_grad_checkpointing()
    with pytest.raises(ValueError, match="with gradient checkpointing on: call set_grad_checkpointing"):
        model.set_recompute(mode)


@pytest.mark.parametrize("mode", RECOMPUTE_MODES)
def test_one_value_in_a_channel_is_rejected_in_training(mode: RecomputeMode) -> None:
    model = timm.create_model("mgnet", notation="MgNet[2,2]-[4]-B^l").train()
    model.set_recompute(mode)
    model.stem.eval()
    with pytest.raises(ValueError, match="Expected more than 1 value per channel when training"):
        model(torch.randn(1, 3, 1, 1))


@pytest.mark.parametrize("family", sorted(SMALL))
def test_gradient_checkpointing_keeps_less_and_can_be_differentiated_again(family: str) -> None:
    model = build(family).train()
    x = torch.randn(2, 3, 16, 16)
    plain = saved_bytes(model, lambda: model(x))
    model.set_grad_checkpointing()
    assert saved_bytes(model, lambda: model(x)) < plain
    loss = model(x).square().sum()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    first = torch.autograd.grad(loss, parameters, retain_graph=True)
    assert all(torch.equal(p, q) for p, q in zip(first, torch.autograd.grad(loss, parameters)))
    model.set_grad_checkpointing(False)
    assert saved_bytes(model, lambda: model(x)) == plain
