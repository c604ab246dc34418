"""A network that a user changed after it was built, in every execution: as plain execution computes it, or refused in one line.

`CHANGES` is the table of ways in which a weight is no plain parameter, a module no plain layer, or a call more than the layer.
"""

import contextlib
import copy
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from timm.layers import BatchNormAct2d, FrozenBatchNormAct2d, GroupNormAct, convert_sync_batchnorm
from timm.layers.norm_act import freeze_batch_norm_2d
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune, spectral_norm, weight_norm

from mgnet_kernels import Policy
from mgnet_models import MgNet, optimize_for_inference, summary, to_preact_resnet, use_winograd, winograd_backend
from models.strategies import disturb_norms, grids_of

CHANNELS = 16
NOTATION = f"MgNet[3,1]-[{CHANNELS}]-B^l"
ANY_SIZE = Policy(min_channels_float32=16, min_tiles_float32=1)
IMAGES = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
REFUSED_AGAIN = "changes its buffer .* at each call and cannot be computed again"

Change = Callable[[Any], nn.Module | None]
"""Changes a layer in place, or returns the module that takes its place."""


class LowRank(nn.Module):
    """LoRA: the frozen layer and a correction of rank 2; there is no `weight`."""

    def __init__(self, base: nn.Conv2d) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        c_out, c_in, *kernel = base.weight.shape
        self.down = nn.Conv2d(c_in, 2, kernel, base.stride, base.padding, bias=False, dtype=base.weight.dtype)
        self.up = nn.Conv2d(2, c_out, 1, bias=False, dtype=base.weight.dtype)

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.up(self.down(x))


class LowRankWithWeight(LowRank):
    """As some libraries have it: `weight` is that of the frozen layer, which is not what is computed."""

    @property
    def weight(self) -> Tensor:
        return self.base.weight


class Doubling(nn.Conv2d):
    """A subclass that is no convolution with its weight."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


class Half(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return weight / 2


def doubling(layer: nn.Conv2d) -> nn.Module:
    other = Doubling(layer.in_channels, layer.out_channels, 3, layer.stride, layer.padding, bias=False, dtype=layer.weight.dtype)
    other.load_state_dict(layer.state_dict())
    return other


def with_bias(layer: nn.Conv2d) -> nn.Conv2d:
    layer.bias = nn.Parameter(torch.linspace(-1, 1, layer.out_channels, dtype=layer.weight.dtype))
    return layer


def replaced_forward(layer: Any) -> None:
    plain = layer.forward
    layer.forward = lambda x: 2 * plain(x)


def plain_attribute(layer: Any) -> None:
    weight = 2 * layer.weight.detach()
    del layer.weight
    layer.weight = weight


def in_place(change: Callable[[Any], object]) -> Change:
    def changed(layer: nn.Module) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the older of two ways is deprecated, and in use
            change(layer)

    return changed


# name: (change, refused when it is computed again, refused when it is folded)
CHANGES: dict[str, tuple[Change, bool, str]] = {
    "pruned by size": (in_place(lambda c: prune.l1_unstructured(c, "weight", 0.5)), False, "computed by L1Unstructured"),
    "pruned by channels": (in_place(lambda c: prune.ln_structured(c, "weight", 0.5, 2, 0)), False, "computed by LnStructured"),
    "pruned twice": (
        in_place(lambda c: [prune.random_unstructured(c, "weight", 0.3) for _ in range(2)]),
        False,
        "computed by PruningContainer",
    ),
    "pruned bias": (in_place(lambda c: prune.random_unstructured(with_bias(c), "bias", 0.5)), False, "the bias of .* is computed"),
    "pruned for good": (
        in_place(lambda c: (prune.l1_unstructured(c, "weight", 0.5), prune.remove(c, "weight"))),
        False,
        "",
    ),
    "weight norm, old": (in_place(weight_norm), False, "computed by WeightNorm"),
    "weight norm": (in_place(parametrizations.weight_norm), False, "parametrized"),
    "spectral norm, old": (in_place(spectral_norm), True, "computed by SpectralNorm"),
    "spectral norm": (in_place(parametrizations.spectral_norm), True, "parametrized"),
    "parametrized": (in_place(lambda c: parametrize.register_parametrization(c, "weight", Half())), False, "parametrized"),
    "parametrized bias": (
        in_place(lambda c: parametrize.register_parametrization(with_bias(c), "bias", Half())),
        False,
        "parametrized",
    ),
    "bias": (in_place(with_bias), False, ""),
    "weight as an attribute": (in_place(plain_attribute), False, "computed by something else"),
    "LoRA": (LowRank, False, "is a LowRank: merge"),
    "LoRA with a weight": (LowRankWithWeight, False, "is a LowRankWithWeight: merge"),
    "subclass": (doubling, False, "is a Doubling: merge"),
    "in a Sequential": (nn.Sequential, False, "is a Sequential: merge"),
    "forward hook": (in_place(lambda c: c.register_forward_hook(lambda module, args, y: 2 * y)), False, "has hooks"),
    "hook on its input": (
        in_place(lambda c: c.register_forward_pre_hook(lambda module, args: (2 * args[0] + 1,))),
        False,
        "has hooks",
    ),
    "backward hook": (
        in_place(lambda c: c.register_full_backward_hook(lambda module, grads, _: tuple(g if g is None else 2 * g for g in grads))),
        False,
        "has hooks",
    ),
    "another forward method": (in_place(replaced_forward), False, "the forward method of .* was replaced"),
    "frozen": (in_place(lambda c: c.requires_grad_(False)), False, ""),
    "another weight": (in_place(lambda c: setattr(c, "weight", nn.Parameter(c.weight.detach() / 2))), False, ""),
    "another padding": (in_place(lambda c: setattr(c, "padding_mode", "circular")), False, ""),
    "dilated": (in_place(lambda c: (setattr(c, "dilation", (2, 2)), setattr(c, "padding", (2, 2)))), False, ""),
}
PLACES = {"A": "grids.0.A", "B": "grids.0.B.0", "Pi": "grids.1.transfer.Pi", "theta": "stem.theta"}

# The same for sigma; those that PyTorch's checkpoint would repeat wrongly are among them.
SIGMAS: dict[str, tuple[Change, str]] = {
    "forward hook": (in_place(lambda s: s.register_forward_hook(lambda module, args, y: 2 * y)), "has hooks"),
    "hook on its input": (
        in_place(lambda s: s.register_forward_pre_hook(lambda module, args: (2 * args[0] + 1,))),
        "has hooks",
    ),
    "hook on its activation": (
        in_place(lambda s: s.act.register_forward_hook(lambda module, args, y: 2 * y)),
        r"sigma_.\.1\.act has hooks",
    ),
    "backward hook": (
        in_place(lambda s: s.register_full_backward_hook(lambda module, grads, _: tuple(g if g is None else 2 * g for g in grads))),
        "has hooks",
    ),
    "cumulative average": (in_place(lambda s: setattr(s, "momentum", None)), ""),
    "without running statistics": (
        lambda s: BatchNormAct2d(CHANNELS, track_running_stats=False, dtype=s.weight.dtype),
        "has no running statistics",
    ),
    "without weights": (lambda s: BatchNormAct2d(CHANNELS, affine=False, dtype=s.weight.dtype), ""),
    "frozen by timm": (freeze_batch_norm_2d, ""),
    "frozen in evaluation": (in_place(lambda s: s.eval()), ""),
    "BatchNorm alone": (lambda s: nn.BatchNorm2d(CHANNELS, dtype=s.weight.dtype), "is a BatchNorm2d, which cannot be folded"),
    "BatchNorm and ReLU": (lambda s: nn.Sequential(nn.BatchNorm2d(CHANNELS, dtype=s.weight.dtype), nn.ReLU()), "is a Sequential"),
    "InstanceNorm": (
        lambda s: nn.InstanceNorm2d(CHANNELS, affine=True, track_running_stats=True, dtype=s.weight.dtype),
        "is a InstanceNorm2d",
    ),
    "GroupNorm": (lambda s: GroupNormAct(CHANNELS, 4, dtype=s.weight.dtype), "is a GroupNormAct"),
    "pruned weights": (in_place(lambda s: prune.random_unstructured(s, "weight", 0.5)), "computed by RandomUnstructured"),
    "parametrized weights": (in_place(lambda s: parametrize.register_parametrization(s, "weight", Half())), "parametrized"),
    "dropout": (in_place(lambda s: setattr(s, "drop", nn.Dropout(0.3))), ""),
    "PReLU": (in_place(lambda s: setattr(s, "act", nn.PReLU(dtype=s.weight.dtype))), ""),
    "another forward method": (in_place(replaced_forward), "the forward method of .* was replaced"),
}

EXECUTIONS: dict[str, Callable[[MgNet], object]] = {
    "selective": lambda model: model.set_recompute("selective"),
    "full": lambda model: model.set_recompute("full"),
    "sublinear": lambda model: model.set_recompute("sublinear"),
    "checkpointing": lambda model: model.set_grad_checkpointing(),
}
# "sublinear" shares its code with checkpointing.
every_execution = pytest.mark.parametrize(
    "execution", [pytest.param(name, marks=pytest.mark.nightly) if name == "sublinear" else name for name in EXECUTIONS]
)
every_change = pytest.mark.parametrize("change", CHANGES)
every_sigma = pytest.mark.parametrize("change", SIGMAS)
needs_kernel = pytest.mark.skipif(winograd_backend() == "aten", reason="mgnet-kernels has no C code on this machine")


def network(dtype: torch.dtype = torch.float64) -> MgNet:
    torch.manual_seed(0)
    model = MgNet(NOTATION, num_classes=3, dtype=dtype).train()
    disturb_norms(model)
    return model


def apply(change: Change, model: MgNet, place: str) -> MgNet:
    parent, _, name = place.rpartition(".")
    other = change(model.get_submodule(place))
    if other is not None:
        setattr(model.get_submodule(parent), name, other)
    return model


def trained(model: MgNet) -> dict[str, Tensor]:
    """Outputs of two training steps, gradients of the second, and buffers; a stale weight would show in the second step."""
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.01)
    found = {}
    torch.manual_seed(1)
    for step in range(2):
        optimizer.zero_grad(set_to_none=True)
        y = model(IMAGES.to(next(model.parameters()).dtype))
        y.square().mean().backward()
        found[f"output {step}"] = y.detach()
        optimizer.step()
    found |= {f"gradient of {key}": p.grad for key, p in model.named_parameters() if p.grad is not None}
    return found | {f"buffer {key}": value.clone() for key, value in model.named_buffers()}


def require_equal(seen: dict[str, Tensor], wanted: dict[str, Tensor], tolerance: float) -> None:
    assert seen.keys() == wanted.keys()
    scale = max(float(value.norm()) for key, value in wanted.items() if key.startswith("gradient"))
    for key, value in wanted.items():
        error = float((seen[key] - value).double().norm())
        assert error <= tolerance * max(float(value.double().norm()), 1e-3 * scale), key


@every_change
@every_execution
@pytest.mark.parametrize("place, is_first", [("A", True), ("B", False)], ids=["A before", "B after"])
def test_a_changed_convolution_trains_in_each_execution_as_without(change: str, place: str, execution: str, is_first: bool) -> None:
    how, refused, _ = CHANGES[change]
    wanted = trained(apply(how, network(), PLACES[place]))
    model = network()
    if is_first:
        apply(how, model, PLACES[place])
    EXECUTIONS[execution](model)
    if not is_first:
        apply(how, model, PLACES[place])
    again = execution != "selective" and (place == "B" or execution != "full")
    if refused and again:
        with pytest.raises(RuntimeError, match=REFUSED_AGAIN):
            trained(model)
    else:
        require_equal(trained(model), wanted, 1e-9)


@every_sigma
@pytest.mark.parametrize("sigma", ["sigma_r", "sigma_u"])
@every_execution
def test_a_changed_sigma_trains_in_each_execution_as_without(change: str, sigma: str, execution: str) -> None:
    how, place = SIGMAS[change][0], f"grids.0.{sigma}.1"
    wanted = trained(apply(how, network(), place))
    model = apply(how, network(), place)
    EXECUTIONS[execution](model)
    require_equal(trained(model), wanted, 1e-9)


@needs_kernel
@every_change
@pytest.mark.parametrize("place, is_first", [("B", True), ("A", False)], ids=["B before", "A after"])
def test_a_changed_convolution_trains_by_winograd_as_without(change: str, place: str, is_first: bool) -> None:
    how = CHANGES[change][0]
    wanted = trained(apply(how, network(torch.float32), PLACES[place]))
    model = network(torch.float32)
    if is_first:
        apply(how, model, PLACES[place])
    use_winograd(model, ANY_SIZE)
    if not is_first:
        apply(how, model, PLACES[place])
    seen = trained(model)
    for step in ("output 0", "output 1"):  # rounding may switch a ReLU, which gradients would show
        assert (seen[step] - wanted[step]).norm() <= 1e-3 * wanted[step].norm()


def require_folded_or_refused(model: MgNet, message: str) -> None:
    model.eval()
    x = IMAGES.double()
    if message:
        with pytest.raises(ValueError, match=message) as error:
            optimize_for_inference(model)
        assert "\n" not in str(error.value)
    else:
        torch.testing.assert_close(optimize_for_inference(model)(x), model(x), rtol=1e-9, atol=1e-9)


@every_change
@pytest.mark.parametrize("place", PLACES)
def test_a_changed_convolution_is_folded_as_it_computes_or_refused(change: str, place: str) -> None:
    how, _, message = CHANGES[change]
    if place == "A" and change.startswith(("LoRA", "subclass", "in a", "forward hook", "hook", "backward")):
        message = ""  # A is not folded: what takes its place runs as it is
    require_folded_or_refused(apply(how, network(), PLACES[place]), message)


@every_sigma
@pytest.mark.parametrize("place", ["grids.0.sigma_r.1", "grids.0.sigma_u.1"])
def test_a_changed_sigma_is_folded_as_it_computes_or_refused(change: str, place: str) -> None:
    how, message = SIGMAS[change]
    model = apply(how, network(), place)
    model(IMAGES.double())
    require_folded_or_refused(model, message)


def test_norms_that_timm_froze_or_synchronized_are_folded() -> None:
    for convert in (freeze_batch_norm_2d, convert_sync_batchnorm):
        model = convert(network())
        kinds = {type(sigma).__name__ for sigma in grids_of(model)[0].sigma_r}
        assert kinds <= {FrozenBatchNormAct2d.__name__, "SyncBatchNormAct"}
        require_folded_or_refused(model, "")


def test_a_folded_network_is_not_folded_again() -> None:
    with pytest.raises(ValueError, match=r"grids\.0\.sigma_r\.0 is a Sequential, which cannot be folded"):
        optimize_for_inference(optimize_for_inference(network()))


@every_change
@pytest.mark.parametrize("place", ["A", "theta"])
def test_a_changed_network_is_counted(change: str, place: str) -> None:
    model = apply(CHANGES[change][0], network(), PLACES[place])
    assert summary(model, (3, 8, 8)).parameters == sum(p.numel() for p in model.parameters())
    model(IMAGES.double())  # the network itself still has its tensors


@pytest.mark.parametrize("place", ["A", "B"])
@pytest.mark.parametrize("change", [name for name in CHANGES if name not in ("pruned for good", "another weight", "frozen")])
def test_a_changed_network_has_the_residuals_of_its_preact_resnet_or_is_refused(change: str, place: str) -> None:
    model = apply(CHANGES[change][0], network(), PLACES[place]).eval()
    resnet = None
    with contextlib.suppress(ValueError):
        resnet = to_preact_resnet(model)
    if resnet is None:
        return
    x = IMAGES.double()
    u, f = model.stem(x)
    grid = grids_of(model)[0]
    residual = f - grid.A(grid.feature_iteration(u.contiguous(), f))
    seen = resnet.forward_intermediates(x, intermediates_only=True)[0]
    torch.testing.assert_close(seen, residual, rtol=1e-9, atol=1e-9)


def test_a_network_that_cannot_be_counted_is_rejected_in_one_line() -> None:
    model = network()
    replaced_forward(grids_of(model)[0].sigma_r[0])  # bound to tensors on the CPU
    with pytest.raises(ValueError, match="MgNet on 3x8x8 cannot be counted on the meta device") as error:
        summary(model, (3, 8, 8))
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="MgNet says no image size: give image="):
        summary(network())


@every_execution
def test_no_images_give_no_images_in_each_execution(execution: str) -> None:
    model = network().eval()
    EXECUTIONS[execution](model)
    y = model(torch.empty(0, 3, 8, 8, dtype=torch.float64))
    y.sum().backward()
    assert y.shape == (0, 3)


@every_execution
def test_the_meta_device_trains_in_each_execution(execution: str) -> None:
    model = network().to("meta")
    EXECUTIONS[execution](model)
    model(torch.empty(2, 3, 8, 8, dtype=torch.float64, device="meta")).sum().backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


@needs_kernel
def test_a_folded_network_has_gradients_with_respect_to_the_image() -> None:
    model = MgNet("MgNet[2,1]-[64]-B^l", num_classes=3).eval()
    disturb_norms(model)
    x = torch.randn(2, 3, 16, 16, requires_grad=True)
    seen, wanted = (torch.autograd.grad(run(x).square().sum(), x)[0] for run in (optimize_for_inference(model), model))
    assert (seen - wanted).norm() <= 1e-3 * wanted.norm()


@needs_kernel
@pytest.mark.parametrize("change", [name for name in CHANGES if not CHANGES[name][1]])
def test_a_system_that_is_changed_after_folding_counts(change: str) -> None:
    """LoRA on a deployed network, pruning for a benchmark: what the folded network kept of A must not be used any more."""
    model = MgNet("MgNet[2,1]-[64]-B^l", num_classes=3).eval()
    disturb_norms(model)
    x = torch.randn(2, 3, 16, 16)
    seen = optimize_for_inference(model)
    seen(x)
    state = copy.deepcopy(seen.state_dict())
    wanted = optimize_for_inference(model, winograd=False)
    wanted.load_state_dict(state)
    for one in (seen, wanted):
        torch.manual_seed(0)
        apply(CHANGES[change][0], one.to(memory_format=torch.contiguous_format), "grids.0.A")
    assert (seen(x) - wanted(x)).norm() <= 1e-3 * wanted(x).norm()
