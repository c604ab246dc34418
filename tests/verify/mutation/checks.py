"""What every variant of mgnet-models is tried on: the properties of the verifier, and the executions beside the plain one.

An execution is compared with what does not depend on it: folding and the conversion with the specification, the recompute
modes and the Winograd convolution with the plain residual form. The full registry of executions will live in the verifier.
"""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from benchmarks.saved_tensors import saved_bytes
from timm import create_model
from timm.layers import ClassifierHead
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import mgnet_models
from mgnet_models import Notation, winograd_backend
from mgnet_verify.check.assertions import require_equal
from mgnet_verify.check.example import Example
from mgnet_verify.check.oracle import compare_logits, oracle_of
from mgnet_verify.check.run import Property
from mgnet_verify.errors import NotDecided, Violation
from mgnet_verify.network.protocol import array
from mgnet_verify.properties import FRESH_PROPERTIES, MODEL_PROPERTIES
from mgnet_verify.properties.conversion import require_conversion
from mgnet_verify.testing import Case
from verify.mutation.variants import Variant


@dataclass(frozen=True, kw_only=True)
class VariantCheck:
    """A check of a variant on a case. `run` raises Violation when it fails, NotDecided when the case cannot decide."""

    name: str
    run: Callable[[Variant, Case], None]

    def __str__(self) -> str:
        return self.name


@cache
def pool() -> tuple[Case, ...]:
    """A few cases that differ in every respect: one to three grids, both rules of sharing, both stems, odd sizes, batch 1."""
    rows = (
        ("MgNet[2]-[(2,3)]-B^l", "cifar", 3, False, (1, 2, 5, 4)),
        ("MgNet[1,2]-[(3,2),(2,3)]-B^{l,i}", "cifar", 3, False, (2, 1, 4, 7)),
        ("MgNet[2,1]-[3]-B^{l,i}", "cifar", 3, False, (3, 3, 6, 5)),
        ("MgNet[3,2]-[2]-B^l", "cifar", 1, True, (2, 3, 5, 5)),
        ("MgNet[2,1,2]-[(2,1),(3,2),(3,3)]-B^{l,i}", "imagenet", 3, False, (2, 3, 17, 19)),
        ("MgNet[1]-[3]-B^{l,i}", "cifar", 3, False, (1, 1, 3, 3)),
    )
    return tuple(
        Case(
            notation=Notation.parse(notation),
            stem=stem,  # type: ignore[arg-type]
            in_chans=shape[1],
            num_classes=2,
            transfer_kernel=kernel,
            transfer_sigma="none" if linear else "norm_act",
            example=Example(seed=seed, shape=shape, amplitude=(3, 2**12 + 1, 2**24 + 1)[seed % 3]),
        )
        for seed, (notation, stem, kernel, linear, shape) in enumerate(rows)
    )


def failures(variant: Variant, checks: Iterable[VariantCheck]) -> Iterator[tuple[str, str]]:
    """The checks that fail on some case of the pool, each with a violation, or with a crash if none is violated."""
    for check in checks:
        failure = _failure(check, variant)
        if failure is not None:
            yield check.name, failure


def _failure(check: VariantCheck, variant: Variant) -> str | None:
    crash: str | None = None
    for case in pool():
        try:
            check.run(variant, case)
        except NotDecided:
            continue
        except Violation as violation:
            return f"Violation: {violation}"
        except Exception as failure:  # whatever a wrong network raises
            crash = f"{type(failure).__name__}: {failure}"
    return crash


# ---- the properties of the verifier ----


def _of_property(checked: Property) -> VariantCheck:
    def run(variant: Variant, case: Case) -> None:
        model = case.model(variant.MgNet)
        if checked.applies_to(model):
            checked.check(model, case.example)

    return VariantCheck(name=checked.name, run=run)


PROPERTY_CHECKS = tuple(_of_property(checked) for checked in (*MODEL_PROPERTIES[:1], *FRESH_PROPERTIES, *MODEL_PROPERTIES[1:]))


# ---- stochastic depth, which no property of a network without it can see ----


def paths_are_dropped_as_stated(variant: Variant, case: Case) -> None:
    """The probability of dropping a correction rises linearly from 0 to `drop_path_rate`; in evaluation none is dropped."""
    torch.manual_seed(case.example.seed)
    model = variant.MgNet(case.notation, in_chans=case.in_chans, num_classes=2, stem=case.stem, drop_path_rate=0.4)
    rates = [getattr(drop, "drop_prob", 0.0) for grid in model.grids for drop in grid.drop_path]
    if not np.allclose(rates, np.linspace(0, 0.4, sum(case.notation.nu))):
        raise Violation(f"paths are dropped at the rates {rates}")
    image = torch.randn(case.example.shape)
    plain = variant.MgNet(case.notation, in_chans=case.in_chans, num_classes=2, stem=case.stem)
    plain.load_state_dict(model.state_dict())
    if not torch.equal(model.eval()(image), plain.eval()(image)):
        raise Violation("paths are dropped in evaluation")
    if any(isinstance(drop, nn.Module) and type(drop) is not nn.Identity for grid in plain.grids for drop in grid.drop_path):
        raise Violation("a network without stochastic depth has modules for it")
    nu = (8,)
    deep = variant.MgNet(Notation(nu=nu, c_u=(2,), c_f=(2,), share_B=True), num_classes=2, drop_path_rate=0.9).train()
    with torch.no_grad():
        states = [deep.forward_features(torch.ones(1, 3, 4, 4)) for _ in range(8)]
    if all(torch.equal(states[0], state) for state in states):
        raise Violation("no path is dropped in training")


def intermediates_are_the_features(variant: Variant, case: Case) -> None:
    """`forward_intermediates` gives u^{l,nu} of every grid, and the last one is what the head reads."""
    right = oracle_of(case.model(variant.MgNet), case.example)
    with torch.no_grad():
        last, features = right.model.forward_intermediates(case.example.tensor())  # type: ignore[operator]
    for grid, (u, iterates) in enumerate(zip(features, right.feature_form.grids, strict=True), start=1):
        require_equal("intermediate", array(u), iterates.u[-1], grid=grid)
    require_equal("the last feature", array(last), right.feature_form.grids[-1].u[-1])
    announced = (right.model.in_chans, right.model.num_classes, right.model.grad_checkpointing)
    if announced != (case.in_chans, case.num_classes, False):
        raise Violation(f"in_chans, num_classes, grad_checkpointing are {announced}")


# ---- folding: the oracle's u^J, without a normalization left ----


def folded_equals_the_specification(variant: Variant, case: Case) -> None:
    """Folded, the network gives the oracle's u^J bit for bit; it is for inference only, and its source is not changed."""
    right = oracle_of(case.model(variant.MgNet), case.example)
    before = copy.deepcopy(right.model.state_dict())
    right.model.train()
    folded = variant["runtime.folding", "optimize_for_inference"](right.model)
    with torch.no_grad():
        u = folded.forward_features(case.example.tensor())
        logits = folded(case.example.tensor())
    ends = right.feature_form.grids[-1]
    require_equal("u^J of the folded network", array(u), ends.u[-1])
    compare_logits("folded network: ", array(logits), right.feature_form, right.net)
    if folded.training or any(parameter.requires_grad for parameter in folded.parameters()):
        raise Violation("the folded network can be trained")
    if any(isinstance(module, nn.BatchNorm2d) for module in folded.modules()):
        raise Violation("a BatchNorm is left in the folded network")
    kernels = [module.weight for module in folded.modules() if isinstance(module, nn.Conv2d)]
    if not all(kernel.is_contiguous(memory_format=torch.channels_last) for kernel in kernels):
        raise Violation("a kernel of the folded network is not in channels_last")
    if not right.model.training or any(not torch.equal(tensor, before[name]) for name, tensor in right.model.state_dict().items()):
        raise Violation("folding changes the network it is given")


def folded_equals_the_network(variant: Variant, case: Case) -> None:
    """Folded, a network with a bias, with another activation, or in a training mode computes its own function, up to rounding."""
    optimize_for_inference = variant["runtime.folding", "optimize_for_inference"]
    arguments = {"in_chans": case.in_chans, "num_classes": 2, "stem": case.stem}
    torch.manual_seed(case.example.seed)
    image = torch.randn(case.example.shape, dtype=torch.float64)
    biased = _lively(variant.MgNet(case.notation, **arguments)).double()
    for module in biased.modules():
        if isinstance(module, nn.Conv2d):
            module.bias = nn.Parameter(torch.randn(module.out_channels, dtype=torch.float64))
    biased.set_recompute("selective")
    smooth = _lively(variant.MgNet(case.notation, act_layer="gelu", **arguments)).double()
    smooth.set_grad_checkpointing(True)
    single = _lively(variant.MgNet(case.notation, **arguments))
    for network, x, tolerance in ((biased, image, 1e-9), (smooth, image, 1e-9), (single, image.float(), 1e-3)):
        folded = optimize_for_inference(network)
        with torch.no_grad():
            seen, wanted = folded(x), network.eval()(x)
        if not torch.allclose(seen, wanted, rtol=tolerance, atol=tolerance * float(wanted.abs().max())):
            raise Violation("the folded network computes another function")
        replaced = [method for module in folded.modules() for method in vars(module).values()]
        recomputes = any(isinstance(method, variant["runtime.recompute", "_Replaced"]) for method in replaced)
        if folded.recompute != "none" or folded.grad_checkpointing or recomputes:
            raise Violation("the folded network still recomputes")
        if {tensor.dtype for tensor in folded.state_dict().values() if tensor.is_floating_point()} != {x.dtype}:
            raise Violation("folding changes the dtype")
    unfoldable = variant.MgNet(case.notation, norm_layer="groupnorm1", **arguments)
    try:
        optimize_for_inference(unfoldable)
    except ValueError as error:
        if "cannot be folded: optimize_for_inference needs" not in str(error):
            raise
    else:
        raise Violation("a network that normalizes by the image is folded")


def folded_wide_network_runs_winograd(variant: Variant, case: Case) -> None:
    """Folded, a wide network computes its function by Winograd with kept transforms, r - A * s in one call, until hooks watch A."""
    if winograd_backend() == "aten":
        raise NotDecided("no C kernel on this machine")
    conv3x3 = variant["runtime.convolution", "Conv3x3"]
    optimize_for_inference = variant["runtime.folding", "optimize_for_inference"]
    torch.manual_seed(0)
    network = _lively(variant.MgNet("MgNet[2,2]-[48]-B^l", num_classes=2)).eval()
    image = torch.randn(2, 3, 48, 48)
    folded, direct = optimize_for_inference(network), optimize_for_inference(network, winograd=False)
    if any(isinstance(module, conv3x3) for module in direct.modules()):
        raise Violation("Winograd was not asked for")
    smoothers = [B for grid in folded.grids for B in grid.B]
    watched: list[Tensor] = []
    with torch.inference_mode():
        wanted = network(image)
        for _ in range(2):
            seen = folded(image)
            if not torch.allclose(seen, wanted, rtol=1e-3, atol=1e-3 * float(wanted.abs().max())):
                raise Violation("the folded network computes another function")
        in_one_call = [grid.next_residual for grid in folded.grids]
        folded.grids[0].A.register_forward_hook(lambda module, args, y: watched.append(y))
        hooked = folded(image)
    if not all(isinstance(B, conv3x3) and B._conv3x3.__self__._kept is not None for B in smoothers):
        raise Violation("the convolutions keep no transforms")
    if any(in_one_call[n]._minus_A._kept is None for n in range(2)):
        raise Violation("the residual takes two calls")
    if len(watched) != 2 or not torch.allclose(hooked, wanted, rtol=1e-3, atol=1e-3 * float(wanted.abs().max())):
        raise Violation("a hook on A is not called, or changes the result")


# ---- duality: the modified pre-act ResNet has the residuals ----


def converted_has_the_residuals(variant: Variant, case: Case) -> None:
    """The conversion's own code, on the property's statement; and the converted network can be trained as a whole."""
    model = case.model(variant.MgNet)
    to_preact_resnet, to_mgnet = (variant["mgnet.duality", name] for name in ("to_preact_resnet", "to_mgnet"))
    require_conversion(model, case.example, to_preact_resnet, to_mgnet)
    for training in (True, False):
        resnet = to_preact_resnet(model.train(training))
        if resnet.training is not training or to_mgnet(resnet, completed_by=model).training is not training:
            raise Violation("conversion changes the mode")
    if not all(parameter.requires_grad for parameter in resnet.parameters()):
        raise Violation("a parameter of the pre-act ResNet is not trained")
    if any(module.kernel_size != module.weight.shape[2:] for module in resnet.modules() if isinstance(module, nn.Conv2d)):
        raise Violation("a convolution of the pre-act ResNet announces another kernel than it has")
    with torch.no_grad():
        image = case.example.tensor().to(next(model.parameters()).dtype)
        pooled, r = resnet(image), resnet.forward_features(image)
    if any(tensor.is_meta for tensor in resnet.state_dict().values()) or not torch.allclose(pooled, r.mean((2, 3))):
        raise Violation("the pre-act ResNet has a classifier of its own")
    other = case.model(variant.MgNet)
    _lively(other)
    before = copy.deepcopy(other.state_dict())
    back = to_mgnet(resnet, completed_by=other)
    if any(not torch.equal(tensor, before[name]) for name, tensor in other.state_dict().items()):
        raise Violation("the way back changes the network that completes it")
    for name, tensor in back.state_dict().items():
        from_other = name.startswith("head.") or ".Pi." in name or ".sigma_Pi." in name
        if not torch.equal(tensor, (before if from_other else model.state_dict())[name]):
            raise Violation(f"on the way back {name} comes from the wrong network")
    c_f = list(case.notation.c_f)
    if [info["num_chs"] for info in resnet.feature_info] != c_f or resnet.num_classes != 0 or resnet.num_features != c_f[-1]:
        raise Violation("the pre-act ResNet announces other features than it has")
    if [info["reduction"] for info in resnet.feature_info] != [info["reduction"] for info in model.feature_info]:
        raise Violation("the pre-act ResNet announces other reductions than the MgNet")


# ---- recompute: outputs, derivatives, statistics of plain autograd, and fewer bytes ----

Results = tuple[Tensor, list[Tensor], list[Tensor], list[Tensor]]

RECOMPUTING: dict[str, Callable[[Any], None]] = {
    "selective": lambda model: model.set_recompute("selective"),
    "full": lambda model: model.set_recompute("full"),
    "sublinear": lambda model: model.set_recompute("sublinear"),
    "checkpointed": lambda model: model.set_grad_checkpointing(True),
}


def _lively(model: nn.Module) -> nn.Module:
    """Norms that are not those of a fresh network."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            with torch.no_grad():
                module.weight.uniform_(-1.5, 1.5)
                module.bias.uniform_(-0.5, 0.5)
                module.running_mean.uniform_(-0.5, 0.5)  # type: ignore[union-attr]
                module.running_var.uniform_(0.5, 2.0)  # type: ignore[union-attr]
    return model


def _results(model: nn.Module, image: Tensor, *, autocast: bool, twice: bool) -> Results:
    """Logits, first and second derivatives, and buffers after one call, from one state of the random numbers."""
    model = copy.deepcopy(model)
    image = image.clone().requires_grad_(True)
    torch.manual_seed(0)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        y = model(image)
    leaves = [image, *(parameter for parameter in model.parameters() if parameter.requires_grad)]
    c = torch.linspace(-1, 2, y.numel(), dtype=torch.float64).reshape(y.shape)
    first = torch.autograd.grad((y.double() * c).sum(), leaves, create_graph=twice, allow_unused=True)
    second: Iterable[Tensor | None] = ()
    if twice:
        slope = sum(g.square().sum() for g in first if g is not None)
        second = torch.autograd.grad(slope, leaves, allow_unused=True)
    zeros = [torch.zeros_like(leaf) for leaf in leaves]
    return (
        y.detach(),
        [zero if g is None else g.detach() for g, zero in zip(first, zeros)],
        [zero if g is None else g.detach() for g, zero in zip(second, zeros)],
        list(model.buffers()),
    )


def _require_same(what: str, seen: Results, wanted: Results, *, rtol: float) -> None:
    """Equal bits of logits and buffers. Derivatives within `rtol` of the largest: a shared weight's are added in any order."""
    if not torch.equal(seen[0], wanted[0]):
        raise Violation(f"{what}: other logits")
    if not all(map(torch.equal, seen[3], wanted[3])):
        raise Violation(f"{what}: other running statistics")
    for order in (1, 2):
        scale = max((float(g.abs().max()) for g in wanted[order]), default=0.0)
        for g, right in zip(seen[order], wanted[order], strict=True):
            if not float((g - right).abs().max()) <= rtol * scale:
                raise Violation(f"{what}: another derivative of order {order}")


def recomputed_equals_plain(mode: str, variant: Variant, case: Case) -> None:
    """In a recompute mode, logits, first and second derivatives and running statistics are those of plain autograd."""
    torch.manual_seed(case.example.seed)
    plain = _lively(case.model(variant.MgNet).double())
    image = torch.randn(case.example.shape, dtype=torch.float64)
    recomputing = copy.deepcopy(plain)
    RECOMPUTING[mode](recomputing)
    for training in (False, True):
        plain.train(training)
        recomputing.train(training)
        results = (_results(model, image, autocast=False, twice=True) for model in (recomputing, plain))
        _require_same(f"{mode}, training={training}", *results, rtol=1e-9)
        recomputing(image).sum().backward()
        if any(module._forward_hooks or module._forward_pre_hooks for module in recomputing.modules()):
            raise Violation(f"{mode} leaves a hook behind")


def recomputed_equals_plain_with_other_sigmas(mode: str, variant: Variant, case: Case) -> None:
    """The same in training with another activation or normalization, cumulative statistics, and frozen weights of sigma."""
    for arguments, momentum in (({"act_layer": "gelu"}, 0.1), ({"norm_layer": "groupnorm1"}, 0.1), ({}, None)):
        torch.manual_seed(case.example.seed)
        plain = _lively(variant.MgNet("MgNet[3,2]-[(4,3),(3,4)]-B^l", num_classes=2, **arguments)).double().train()
        norms = [module for module in plain.modules() if isinstance(module, nn.BatchNorm2d)]
        for number, norm in enumerate(norms):
            norm.momentum = momentum
            norm.weight.requires_grad_(number % 2 == 0)
            norm.bias.requires_grad_(number % 3 > 0)
            if momentum is None and number == 1:
                norm.eval()
            if momentum is None and number == 2:
                norm.track_running_stats = False
        image = torch.randn(3, 3, 6, 5, dtype=torch.float64)
        recomputing = copy.deepcopy(plain)
        RECOMPUTING[mode](recomputing)
        results = (_results(model, image, autocast=False, twice=True) for model in (recomputing, plain))
        _require_same(f"{mode}, {arguments}, momentum={momentum}", *results, rtol=1e-9)


def recomputed_survives_random_numbers_and_autocast(mode: str, variant: Variant, case: Case) -> None:
    """The same with dropped paths under autocast to bfloat16, and after the mode is taken back."""
    torch.manual_seed(case.example.seed)
    plain = _lively(variant.MgNet("MgNet[5,2]-[(4,3),(3,4)]-B^l", num_classes=2, drop_path_rate=0.4)).train()
    image = torch.randn(6, 3, 9, 8)
    recomputing = copy.deepcopy(plain)
    RECOMPUTING[mode](recomputing)
    wanted = _results(plain, image, autocast=True, twice=False)
    _require_same(f"{mode}, autocast", _results(recomputing, image, autocast=True, twice=False), wanted, rtol=2**-5)


def modes_are_set_and_taken_back(variant: Variant, case: Case) -> None:
    """A mode is announced, replaced by the next, and leaves nothing behind; a second kind of checkpointing is rejected."""
    model = case.model(variant.MgNet)
    for mode in ("selective", "full", "sublinear", "none"):
        model.set_recompute(mode)
        replaced = ["residual_iteration" in grid.__dict__ for grid in model.grids]
        if model.recompute != mode or replaced != [mode != "none"] * len(replaced):
            raise Violation(f"recompute mode {model.recompute!r} where {mode!r} was set")
    model.set_grad_checkpointing(True)
    if model.grad_checkpointing is not True:
        raise Violation("gradient checkpointing is not announced")
    model.set_grad_checkpointing(False)
    if model.grad_checkpointing is not False or any("residual_step" in grid.__dict__ for grid in model.grids):
        raise Violation("gradient checkpointing leaves a method behind")
    with torch.no_grad():
        plain = model(image := torch.randn(case.example.shape))
        model.set_recompute("sublinear")
        if not torch.equal(model(image), plain):
            raise Violation("without gradients a mode computes something else")
    model.eval().set_recompute("none")
    graph = torch.fx.symbolic_trace(model).code
    for mode in ("selective", "full", "sublinear"):
        model.set_recompute(mode)
        if torch.fx.symbolic_trace(model).code != graph:
            raise Violation("a tracer does not see the plain iteration")
    chain = create_model("mgpreactresnet18_al_bl", blocks=(1,), channels=(2,), num_classes=2).train()
    image = torch.randn(2, 3, 4, 4)
    wanted = _results(chain, image, autocast=False, twice=False)
    variant["runtime.recompute", "set_grad_checkpointing"](chain, True)
    _require_same("a checkpointed ResNet", _results(chain, image, autocast=False, twice=False), wanted, rtol=1e-6)
    stage, network = (variant["nn.classifier", name] for name in ("Stage", "Network"))
    blocks = stage(nn.Conv2d(3, 2, 3), nn.Conv2d(2, 2, 3))
    head = ClassifierHead(2, 2)
    plain_chain = network(nn.Identity(), nn.Sequential(blocks), head, in_chans=3, num_classes=2, channels=(2,), finest=1)
    plain_chain.set_grad_checkpointing(True)
    if not all("forward" in block.__dict__ for block in blocks):
        raise Violation("a block of a chain is not checkpointed")


@cache
def _bytes_kept_by_the_package(mode: str, drop_path_rate: float) -> tuple[int, int]:
    return _bytes_kept(mgnet_models.MgNet, mode, drop_path_rate)


def _bytes_kept(network: Callable[..., nn.Module], mode: str, drop_path_rate: float) -> tuple[int, int]:
    """Bytes that are alive because of the logits: after the forward pass, and after a backward pass that keeps the graph."""
    torch.manual_seed(0)
    model = network("MgNet[14,2]-[(4,3),(3,4)]-B^{l,i}", num_classes=2, drop_path_rate=drop_path_rate).train()
    RECOMPUTING[mode](model)
    image = torch.randn(2, 3, 16, 16)

    def back() -> Tensor:
        y: Tensor = model(image)
        y.sum().backward(retain_graph=True)
        return y

    gc.freeze()  # saved_bytes collects garbage: not among all the objects of this process
    kept = saved_bytes(model, lambda: model(image)), saved_bytes(model, back)
    gc.unfreeze()
    return kept


def recomputed_keeps_no_more(mode: str, variant: Variant, case: Case) -> None:
    """A recompute mode keeps as many bytes for the backward pass, and leaves as many after it, as that of the package."""
    for drop_path_rate in (0.0, 0.4):
        seen, right = _bytes_kept(variant.MgNet, mode, drop_path_rate), _bytes_kept_by_the_package(mode, drop_path_rate)
        if seen != right:
            raise Violation(f"{mode} keeps {seen} bytes, not {right}")


def _of_modes(check: Callable[[str, Variant, Case], None], *, cases: tuple[int, ...] = (0,)) -> Iterator[VariantCheck]:
    """The check in each mode, on the cases of the pool with these numbers; a check with a network of its own needs one."""
    for mode in RECOMPUTING:
        yield VariantCheck(name=f"{check.__name__}[{mode}]", run=_on_cases(partial(check, mode), cases))


def _on_cases(run: Callable[[Variant, Case], None], numbers: tuple[int, ...]) -> Callable[[Variant, Case], None]:
    def on_cases(variant: Variant, case: Case) -> None:
        if any(case is pool()[number] for number in numbers):
            run(variant, case)

    return on_cases


NETWORK_CHECKS = (
    VariantCheck(name="paths_are_dropped_as_stated", run=paths_are_dropped_as_stated),
    VariantCheck(name="intermediates_are_the_features", run=intermediates_are_the_features),
)
# ---- Winograd: the direct convolution up to rounding, wherever it can be used and nowhere else ----


def winograd_is_close_to_direct(variant: Variant, case: Case) -> None:
    """Every 3x3 convolution of stride 1 that the policy allows is converted, on the same parameters, and computes the same."""
    if winograd_backend() == "aten":
        raise NotDecided("no C kernel on this machine")
    from mgnet_kernels import Policy

    conv3x3, use_winograd = (variant["runtime.convolution", name] for name in ("Conv3x3", "use_winograd"))
    policy = Policy(min_channels_float32=16, min_tiles_float32=1, min_channels_bfloat16=10**6)
    torch.manual_seed(0)
    direct = variant.MgNet("MgNet[2,2]-[(16,32),(32,16)]-B^{l,i}", num_classes=2)
    parametrized = direct.grids[1].B[1]
    torch.nn.utils.parametrizations.weight_norm(parametrized)
    tied = direct.grids[0].B[1]
    tied.forward = partial(type(tied).forward, tied)
    winograd = copy.deepcopy(direct)
    names = [name for name, _ in winograd.named_parameters()]
    parameters = [id(parameter) for parameter in winograd.parameters()]
    if use_winograd(winograd, policy) is not winograd:
        raise Violation("the network is not returned")
    if [name for name, _ in winograd.named_parameters()] != names or [id(p) for p in winograd.parameters()] != parameters:
        raise Violation("the parameters are others")
    converted = [name for name, module in winograd.named_modules() if isinstance(module, conv3x3)]
    if converted != ["grids.0.A", "grids.0.B.0", "grids.1.A", "grids.1.B.0"]:
        raise Violation(f"converted are {converted}")
    if any(isinstance(module, conv3x3) for module in use_winograd(copy.deepcopy(direct)).modules()):
        raise Violation("narrow convolutions are converted by the default policy")
    image = torch.randn(2, 3, 12, 16)
    seen, wanted = (_results(model, image, autocast=False, twice=False) for model in (winograd, direct))
    for x, y in zip((seen[0], *seen[1]), (wanted[0], *wanted[1]), strict=True):
        if not float((x - y).norm()) <= 1e-3 * max(float(y.norm()), 1e-3):
            raise Violation("the converted network computes another function or another gradient")
    if use_winograd(nn.Identity(), policy) is None:
        raise Violation("a network without convolutions is not returned")
    alone = use_winograd(nn.Conv2d(16, 16, 3, padding=1), policy)
    if not isinstance(alone, conv3x3) or variant["runtime.convolution", "winograd_backend"]() != winograd_backend():
        raise Violation("a single convolution is not converted, or the backend has another name")
    one, batch = torch.randn(16, 8, 8), torch.randn(2, 16, 8, 8)
    with torch.no_grad():
        right = torch.conv2d(one[None], alone.weight, alone.bias, padding=1)[0]
        if alone(one).shape != right.shape or not torch.allclose(alone(one), right, atol=1e-4):
            raise Violation("one image without a batch is convolved in another way")
        before, operators = alone(batch), _operators_of(lambda: alone(batch))
        alone.freeze()
        if not torch.equal(alone(batch), before):
            raise Violation("a frozen convolution computes other bits")
        if operators == _operators_of(lambda: alone(batch)) or "mgnet.conv3x3.default" not in operators:
            raise Violation("the operator does not run, or runs after freezing too")


class _Operators(TorchDispatchMode):
    """Notes the names of the operators that run in this context."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(str(func))
        return func(*args, **(kwargs or {}))


def _operators_of(run: Callable[[], object]) -> set[str]:
    with _Operators() as operators:
        run()
    return operators.names


WINOGRAD_CHECKS = (VariantCheck(name="winograd_is_close_to_direct", run=_on_cases(winograd_is_close_to_direct, (0,))),)
FOLDING_CHECKS = (
    VariantCheck(name="folded_equals_the_specification", run=folded_equals_the_specification),
    VariantCheck(name="folded_equals_the_network", run=folded_equals_the_network),
    VariantCheck(name="folded_wide_network_runs_winograd", run=_on_cases(folded_wide_network_runs_winograd, (0,))),
)
DUALITY_CHECKS = (VariantCheck(name="converted_has_the_residuals", run=converted_has_the_residuals),)
RECOMPUTE_CHECKS = (
    *_of_modes(recomputed_keeps_no_more),
    *_of_modes(recomputed_equals_plain, cases=(2, 3)),
    *_of_modes(recomputed_survives_random_numbers_and_autocast),
    *_of_modes(recomputed_equals_plain_with_other_sigmas),
    VariantCheck(name="modes_are_set_and_taken_back", run=_on_cases(modes_are_set_and_taken_back, (2,))),
)

# The checks that see a change of a file, those that see it soonest first.
CHECKS_OF = {
    "mgnet.duality": DUALITY_CHECKS,
    "runtime.recompute": RECOMPUTE_CHECKS,
    "runtime.folding": FOLDING_CHECKS,
    "runtime.convolution": WINOGRAD_CHECKS,
}
ALL_CHECKS = (*PROPERTY_CHECKS, *NETWORK_CHECKS, *DUALITY_CHECKS, *FOLDING_CHECKS, *WINOGRAD_CHECKS, *RECOMPUTE_CHECKS)


def checks_of(file: str) -> tuple[VariantCheck, ...]:
    """The checks for a change of one file: all of them for the mathematics, the file's own for the runtime."""
    return CHECKS_OF.get(file, ALL_CHECKS)
