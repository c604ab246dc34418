"""Defects that live in one execution, one size, one layout, one batch, one mode, one family: the certificate sees each of them.

A defect replaces methods of classes for the time of a test, so that every copy of a network has it. It changes nothing else:
`test_the_networks_without_a_defect_pass` runs the same properties.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
import timm
import torch
from timm.layers import BatchNormAct2d, ClassifierHead
from torch import Tensor, nn

from mgnet_models.families.gdfi import NonlinearGrid
from mgnet_models.families.mgresnet import ResidualGrid
from mgnet_models.families.msdnet import DenseLayer
from mgnet_models.families.plain import PlainLayer
from mgnet_models.families.rescsc import ResCscBlock
from mgnet_models.families.sparse_coding import CodingLayer, Dictionary, Pursuit
from mgnet_models.mgnet.grid import Grid, SmoothingGrid
from mgnet_models.mgnet.model import MgNet
from mgnet_models.mgnet.stem import DataMap
from mgnet_models.mgnet.transfer import Transfer
from mgnet_models.nn.classifier import Network
from mgnet_models.nn.layers import ConvLayer
from mgnet_models.runtime import folding, recompute
from mgnet_models.runtime.convolution import Conv3x3
from mgnet_verify import Example, NotDecided
from mgnet_verify.check.run import Property, decide
from mgnet_verify.network.subject import limits_of
from mgnet_verify.properties import MODEL_PROPERTIES

# The networks, small and of every family.
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "mgnet": ("mgnet", {"notation": "MgNet[3,2]-[(4,3),(3,4)]-B^l", "num_classes": 3}),
    "wide mgnet": ("mgnet", {"notation": "MgNet[2,1]-[48]-B^{l,i}", "num_classes": 3}),
    "gdfi": ("gdfi_both_pre", {"notation": "MgNet[2,2]-[(4,3),(3,4)]-B^{l,i}", "num_classes": 3}),
    "resnet": ("mgresnet18_al_bl", {"blocks": (1, 2), "channels": (4, 5), "num_classes": 3}),
    "pre-act resnet": ("mgpreactresnet18_ali_bli", {"blocks": (1, 2), "channels": (4, 5), "num_classes": 3}),
    "plain": ("plain20", {"convolutions": (1, 2), "channels": (4, 6), "num_classes": 3}),
    "vgg": ("cifar_vgg19_bn", {"widths": ((4, 4), (5,)), "kernels": (3, 3), "num_classes": 3}),
    "rescsc": ("rescsc20", {"blocks": (1, 2), "channels": (4, 6), "num_classes": 3}),
    "rescsc fista": ("rescsc20", {"blocks": (1, 1), "channels": (4, 6), "num_classes": 3, "unfold": 2, "fista": True}),
    "msdcsc": ("msdcsc40_k12", {"blocks": 2, "layers": 3, "growth": 3, "stem_channels": 4, "num_classes": 3}),
    "msdnet": ("msdnet40_k12", {"blocks": 2, "layers": 3, "growth": 3, "stem_channels": 4, "num_classes": 3}),
    "mlcsc": ("mlcsc", {"coding": (3, 4), "plain": ((5,), (4,)), "num_classes": 3}),
}
# Properties by their place in the list: what is planted here is no count and no name.
SKIPPED = {"macs_of_the_notation", "parameters_of_the_notation", "tensors_by_name"}


@cache
def network(name: str) -> nn.Module:
    model, arguments = NETWORKS[name]
    torch.manual_seed(0)
    return timm.create_model(model, **arguments).eval()


def failures(model: nn.Module, properties: Iterable[Property]) -> Iterator[str]:
    """The properties that do not hold, each with why, on examples as a certificate has them; the network's own size is 12x12."""
    limits = limits_of(model)
    for checked in properties:
        shapes = [limits.shape, (5, limits.channels, 12, 12)] if checked.own_size else [limits.shape]
        try:
            for seed, shape in enumerate(shapes):
                decide(model, checked, Example(seed=seed, shape=shape))
        except NotDecided as outcome:
            raise AssertionError(f"{checked.name} is not decided: {outcome}") from None
        except Exception as outcome:  # a Violation, or what a wrong network raises
            yield f"{checked.name}: {outcome}"


def properties_of(model: nn.Module) -> list[Property]:
    return [checked for checked in MODEL_PROPERTIES if checked.name not in SKIPPED and checked.applies_to(model)]


Method = Callable[..., Any]


@dataclass(frozen=True)
class Defect:
    """`wrong` makes a wrong method of the right one; `by` is the property that must notice, "" for any."""

    name: str
    network: str
    owner: Any
    method: str
    wrong: Callable[[Method], Method]

    def __str__(self) -> str:
        return self.name


def when(condition: Callable[..., bool], change: Callable[[Any], Any]) -> Callable[[Method], Method]:
    """The method whose result is changed where the condition on its arguments holds."""

    def wrong(right: Method) -> Method:
        def method(self: Any, *args: Any, **kwargs: Any) -> Any:
            result = right(self, *args, **kwargs)
            return change(result) if condition(self, *args) else result

        return method

    return wrong


def halved(x: Tensor) -> Tensor:
    return x / 2


def instead(change: Callable[..., Any]) -> Callable[[Method], Method]:
    """The method by the right one and the arguments."""

    def wrong(right: Method) -> Method:
        def method(self: Any, *args: Any, **kwargs: Any) -> Any:
            return change(right, self, *args, **kwargs)

        return method

    return wrong


def _batch(n: int) -> Callable[..., bool]:
    return lambda self, *args: len(args[-1]) > n


def _large(self: Any, *args: Any) -> bool:
    return bool(args[-1].shape[-1] >= 12)


def _odd(self: Any, *args: Any) -> bool:
    return bool(args[-1].shape[-1] % 2 == 1)


def _channels_last(self: Any, *args: Any) -> bool:
    x = args[-1]
    return bool(x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous())


def _autocast(self: Any, *args: Any) -> bool:
    return torch.is_autocast_enabled("cpu")


def _training(self: Any, *args: Any) -> bool:
    return bool(self.training)


def _bfloat16(x: Tensor) -> Tensor:
    return x.bfloat16().to(x.dtype)


def _of_mgnet() -> Iterator[Defect]:
    def grid(name: str, method: str, wrong: Callable[[Method], Method], network: str = "mgnet") -> Defect:
        return Defect(name, network, SmoothingGrid if method == "correction" else Grid, method, wrong)

    yield grid("the correction is halved for batches of more than four images", "correction", when(_batch(4), halved))
    yield grid("the correction is halved for batches of seventeen images", "correction", when(lambda s, i, r: len(r) == 17, halved))
    yield grid("the correction is halved on images as large as the network's own", "correction", when(_large, halved))
    yield grid("the correction is halved on images of odd width", "correction", when(_odd, halved))
    yield grid("the correction is halved in channels_last", "correction", when(_channels_last, halved))
    yield grid("the correction is halved under autocast", "correction", when(_autocast, halved))
    yield grid("the correction is rounded to bfloat16 under autocast", "correction", when(_autocast, _bfloat16))
    yield grid("the correction is halved in training", "correction", when(_training, halved))
    yield grid("the correction has no gradient in training", "correction", when(_training, lambda s: s.detach()))
    yield grid("the correction has no gradient", "correction", when(lambda *_: True, lambda s: s.detach()))
    yield grid(
        "the correction has no gradient for batches of more than four images", "correction", when(_batch(4), lambda s: s.detach())
    )
    yield grid("the correction has half its gradient", "correction", when(lambda *_: True, lambda s: s / 2 + (s / 2).detach()))
    yield grid(
        "the correction is halved in inference mode", "correction", when(lambda *_: torch.is_inference_mode_enabled(), halved)
    )
    yield grid(
        "the correction is halved where gradients are recorded", "correction", when(lambda *_: torch.is_grad_enabled(), halved)
    )
    yield grid("the correction is halved in float32", "correction", when(lambda s, i, r: r.dtype == torch.float32, halved))
    yield grid("A is applied twice in the feature form of large images", "feature_iteration", when(_large, lambda u: u * 2))
    yield grid(
        "the feature form forgets the last image of a batch",
        "feature_iteration",
        when(_batch(1), lambda u: torch.cat((u[:-1], 0 * u[-1:]))),
    )
    yield grid(
        "r is not updated in float32",
        "next_residual",
        instead(lambda right, s, r, x: r if r.dtype == torch.float32 else right(s, r, x)),
    )
    yield Defect(
        "a Winograd convolution forgets its last column",
        "wide mgnet",
        Conv3x3,
        "forward",
        when(lambda *_: True, lambda y: torch.cat((y[..., :-1], 0 * y[..., -1:]), -1)),
    )
    yield Defect(
        "a Winograd convolution is off by 1e-3 in float32",
        "wide mgnet",
        Conv3x3,
        "forward",
        when(lambda self, x: x.dtype == torch.float32, lambda y: y * 1.001),
    )
    yield Defect(
        "the folded residual in one call adds in the place of subtracting",
        "wide mgnet",
        folding._ResidualInOneCall,
        "__call__",
        instead(lambda right, self, r, s: 2 * r - right(self, r, s)),
    )
    yield Defect(
        "a folded normalization forgets its shift",
        "mgnet",
        folding.ScaleShift,
        "forward",
        instead(lambda right, self, x: x * self.scale),
    )
    yield Defect(
        "recomputation of one iteration leaves out the last one",
        "mgnet",
        recompute._Sublinear,
        "run",
        instead(lambda right, self, iterations, r: (*right(self, iterations, r)[:-1], r)),
    )
    yield Defect(
        "recomputation moves the running statistics twice",
        "mgnet",
        recompute._Again,
        "__enter__",
        instead(lambda right, self: (right(self), [norm.running_mean.mul_(2) for norm in self._norms.ours])[0]),
    )
    yield Defect(
        "a checkpointed iteration is computed from half its residual",
        "mgnet",
        recompute._Checkpointed,
        "recomputing",
        instead(lambda right, self, i, r: right(self, i, r / 2)),
    )
    yield Defect(
        "the gradient of a recomputed sigma is that of evaluation",
        "mgnet",
        recompute._NormReLU,
        "backward",
        lambda right: staticmethod(lambda ctx, *g: (setattr(ctx, "by_batch", False), right(ctx, *g))[1]),
    )
    yield Defect("the restriction is halved in channels_last", "mgnet", Transfer, "restrict", when(_channels_last, halved))
    yield Defect("the interpolation has no gradient", "mgnet", Transfer, "interpolate", when(lambda *_: True, lambda u: u.detach()))
    yield Defect(
        "f_in reads the first image of a batch for all",
        "mgnet",
        DataMap,
        "data",
        when(_batch(7), lambda f: f[:1].expand_as(f)),
    )
    yield Defect(
        "f_in reads a view as if it were contiguous",
        "mgnet",
        DataMap,
        "data",
        instead(
            lambda right, s, x: right(
                s, x if x.is_contiguous() or _channels_last(s, x) else x.as_strided(x.shape, torch.empty(x.shape).stride())
            )
        ),
    )
    yield Defect(
        "the features are scaled for one image", "mgnet", MgNet, "forward_features", when(lambda s, x: len(x) == 1, halved)
    )


def _of_the_head() -> Iterator[Defect]:
    def head(name: str, owner: Any, method: str, wrong: Callable[[Method], Method], network: str = "plain") -> Defect:
        return Defect(name, network, owner, method, wrong)

    yield head(
        "the logits are halved in training",
        ClassifierHead,
        "forward",
        instead(
            lambda right, s, x, pre_logits=False: right(s, x, pre_logits=pre_logits) / (2 if s.training and not pre_logits else 1)
        ),
    )
    yield head(
        "the logits are halved for more than four images",
        ClassifierHead,
        "forward",
        instead(
            lambda right, s, x, pre_logits=False: right(s, x, pre_logits=pre_logits) / (2 if len(x) > 4 and not pre_logits else 1)
        ),
    )
    yield head(
        "the head has no gradient by the feature",
        ClassifierHead,
        "forward",
        instead(lambda right, s, x, pre_logits=False: right(s, x.detach(), pre_logits=pre_logits)),
    )
    yield head(
        "pre_logits are normalized",
        ClassifierHead,
        "forward",
        instead(lambda right, s, x, pre_logits=False: right(s, x, pre_logits=pre_logits) / (3 if pre_logits else 1)),
    )
    yield head(
        "reset_classifier forgets num_classes",
        Network,
        "reset_classifier",
        instead(lambda right, s, n, pool=None: s.head.reset(n, pool)),
    )
    yield head(
        "reset_classifier changes the stem",
        Network,
        "reset_classifier",
        instead(lambda right, s, n, pool=None: (right(s, n, pool), s.stem.theta.weight.data.zero_())[0]),
    )
    yield head(
        "a feature of every second grid is given",
        Network,
        "forward_intermediates",
        instead(lambda right, s, x, **kwargs: (right(s, x, **kwargs)[0], right(s, x, **kwargs)[1][::2])),
    )
    yield head(
        "the last feature is not normalized",
        Network,
        "forward_features",
        instead(lambda right, s, x: s.grids(s.stem(x))),
        "pre-act resnet",
    )


def _of_initialization() -> Iterator[Defect]:
    def start(name: str, change: Callable[[Any], Any], network: str = "plain") -> Defect:
        def wrong(right: Method) -> Method:
            def init_weights(self: Any, scheme: str = "kaiming") -> None:
                right(self, scheme)
                with torch.no_grad():
                    change(self)

            return init_weights

        return Defect(name, network, Network, "init_weights", wrong)

    yield start("the classifier starts at zero", lambda model: model.head.fc.weight.zero_())
    yield start("the stem starts three times as large", lambda model: model.stem.theta.weight.mul_(3))
    yield start("the last normalization starts at zero", lambda model: model.grids[-1][-1].sigma.weight.zero_())
    yield start("running means start at one half", lambda model: model.stem.sigma.running_mean.fill_(0.5))
    yield start("two convolutions start with one draw", lambda m: m.grids[1].B[0].weight.copy_(m.grids[1].A.weight), "mgnet_square")
    yield start("the step c starts at two", lambda model: model.grids[0][0].c.fill_(2), "rescsc")
    yield start("filters start with Kaiming's deviation", lambda m: m.grids[0].layers[1].D.weight.mul_(10), "msdcsc")
    yield start("thresholds start at -1", lambda model: model.grids[0][0].layers[0].b.fill_(-1), "mlcsc")


def _of_families() -> Iterator[Defect]:
    yield Defect("a ResNet's block is halved in training", "resnet", ResidualGrid, "block", when(_training, halved))
    yield Defect(
        "a ResNet's block has no gradient in training", "resnet", ResidualGrid, "block", when(_training, lambda r: r.detach())
    )
    yield Defect(
        "a ResNet's shared B has no gradient", "resnet", ResidualGrid, "smooth", when(lambda *_: True, lambda s: s.detach())
    )
    yield Defect(
        "a pre-act ResNet's block is halved under autocast", "pre-act resnet", ResidualGrid, "block", when(_autocast, halved)
    )
    yield Defect(
        "a pre-act ResNet's branch is turned in channels_last",
        "pre-act resnet",
        ResidualGrid,
        "smooth",
        when(_channels_last, lambda s: s.flip(2)),
    )
    yield Defect("A of a GDFI has no gradient", "gdfi", NonlinearGrid, "system", when(lambda *_: True, lambda y: y.detach()))
    yield Defect("A of a GDFI is halved in training", "gdfi", NonlinearGrid, "system", when(_training, halved))
    yield Defect("A of a GDFI is halved for more than four images", "gdfi", NonlinearGrid, "system", when(_batch(4), halved))
    yield Defect(
        "a plain layer forgets sigma on large images",
        "plain",
        PlainLayer,
        "forward",
        instead(lambda right, s, x: s.conv(x) if x.shape[-1] >= 12 else right(s, x)),
    )
    yield Defect(
        "a plain layer normalizes by stored statistics in training",
        "plain",
        PlainLayer,
        "forward",
        instead(lambda right, s, x: (s.sigma.eval(), right(s, x))[1]),
    )
    yield Defect(
        "a layer of VGG has half its gradient", "vgg", ConvLayer, "forward", when(lambda *_: True, lambda y: y / 2 + y.detach() / 2)
    )
    yield Defect(
        "Res-CSC forgets D2 u in training",
        "rescsc",
        ResCscBlock,
        "forward",
        instead(lambda right, s, u: (setattr(s, "corrects", not s.training), right(s, u))[1]),
    )
    yield Defect(
        "Res-CSC starts at the wrong pixels on even images",
        "rescsc",
        ResCscBlock,
        "skip",
        when(lambda s, u: u.shape[-1] % 2 == 0 and s.stride == 2, lambda u: u.flip(3)),
    )
    yield Defect(
        "Res-CSC takes its unfoldings with the first normalization",
        "rescsc fista",
        ResCscBlock,
        "step",
        instead(lambda right, s, t, u, f: right(s, 0, u, f)),
    )
    yield Defect(
        "Res-CSC unfolds the code of D1 without its step in training",
        "rescsc fista",
        ResCscBlock,
        "code",
        instead(_without_step),
    )
    yield Defect(
        "a dense layer is turned in channels_last", "msdnet", DenseLayer, "forward", when(_channels_last, lambda x: x.flip(2))
    )
    yield Defect(
        "a dense layer has no gradient in training", "msdnet", DenseLayer, "forward", when(_training, lambda x: x.detach())
    )
    yield Defect("Res-CSC's step c has no gradient", "rescsc", ResCscBlock, "forward", instead(_without_gradient_of_c))
    yield Defect(
        "a dictionary's transpose has no gradient", "msdcsc", Dictionary, "synthesis", when(lambda *_: True, lambda x: x.detach())
    )
    yield Defect(
        "a dictionary is turned in channels_last", "msdcsc", Dictionary, "analysis", when(_channels_last, lambda z: z.flip(2))
    )
    yield Defect("a dictionary is rounded to bfloat16 under autocast", "msdcsc", Dictionary, "analysis", when(_autocast, _bfloat16))
    yield Defect(
        "an unfolding uses the statistics of the first",
        "msdcsc",
        CodingLayer,
        "threshold",
        instead(lambda right, s, t, v: right(s, 0, v)),
    )
    yield Defect("an unfolding is left out for more than four images", "mlcsc", Pursuit, "pursue", instead(_without_unfolding))
    yield Defect(
        "ML-CSC's transpose is off on odd images",
        "mlcsc",
        Dictionary,
        "synthesis",
        when(lambda s, z, like: like.shape[-1] % 2 == 1, lambda x: x.roll(1, 3)),
    )
    yield Defect(
        "ML-CSC's threshold has no gradient in training", "mlcsc", CodingLayer, "threshold", when(_training, lambda z: z.detach())
    )
    yield Defect(
        "a normalization keeps its statistics in training", "plain", BatchNormAct2d, "forward", instead(_without_statistics)
    )
    yield Defect(
        "a normalization's momentum is that of the count",
        "gdfi",
        BatchNormAct2d,
        "forward",
        instead(lambda right, s, x: (setattr(s, "momentum", None if s.training else 0.1), right(s, x))[1]),
    )


def _without_step(right: Method, block: ResCscBlock, x: Tensor) -> Tensor:
    if not block.training:
        return right(block, x)
    kept, block.c_f = block.c_f, None
    try:
        block.c_f = nn.Parameter(torch.ones_like(kept))
        return right(block, x)
    finally:
        block.c_f = kept


def _without_gradient_of_c(right: Method, block: ResCscBlock, u: Tensor) -> Tensor:
    c = block._parameters["c"]
    assert c is not None
    del block._parameters["c"]
    block.__dict__["c"] = c.detach()
    try:
        return right(block, u)  # type: ignore[no-any-return]
    finally:
        del block.__dict__["c"]
        block._parameters["c"] = c


def _without_unfolding(right: Method, pursuit: Pursuit, x: Tensor) -> Tensor:
    unfold, pursuit.unfold = pursuit.unfold, 0 if len(x) > 4 else pursuit.unfold
    try:
        return right(pursuit, x)  # type: ignore[no-any-return]
    finally:
        pursuit.unfold = unfold


def _without_statistics(right: Method, norm: BatchNormAct2d, x: Tensor) -> Tensor:
    before = norm.running_mean.clone()  # type: ignore[union-attr]
    y = right(norm, x)
    with torch.no_grad():
        norm.running_mean.copy_(before)  # type: ignore[union-attr]
    return y  # type: ignore[no-any-return]


NETWORKS["mgnet_square"] = ("mgnet", {"notation": "MgNet[1,2]-[4]-B^l", "num_classes": 3})
DEFECTS = (*_of_mgnet(), *_of_the_head(), *_of_initialization(), *_of_families())


# The property that notices each defect first.
NOTICED_BY: dict[str, tuple[str, ...]] = {
    "equals_the_specification": (
        "the correction is halved for batches of more than four images",
        "the correction is halved on images as large as the network's own",
        "the correction is halved on images of odd width",
        "the correction is halved in channels_last",
        "the correction is halved under autocast",
        "the correction is rounded to bfloat16 under autocast",
        "the correction is halved in inference mode",
        "the correction is halved where gradients are recorded",
        "A is applied twice in the feature form of large images",
        "the feature form forgets the last image of a batch",
        "a Winograd convolution forgets its last column",
        "the folded residual in one call adds in the place of subtracting",
        "a folded normalization forgets its shift",
        "recomputation of one iteration leaves out the last one",
        "a checkpointed iteration is computed from half its residual",
        "the restriction is halved in channels_last",
        "the logits are halved for more than four images",
        "the last feature is not normalized",
        "a pre-act ResNet's block is halved under autocast",
        "a pre-act ResNet's branch is turned in channels_last",
        "A of a GDFI is halved for more than four images",
        "a plain layer forgets sigma on large images",
        "Res-CSC starts at the wrong pixels on even images",
        "a dictionary is turned in channels_last",
        "a dense layer is turned in channels_last",
        "a dictionary is rounded to bfloat16 under autocast",
        "an unfolding uses the statistics of the first",
        "Res-CSC takes its unfoldings with the first normalization",
        "an unfolding is left out for more than four images",
        "ML-CSC's transpose is off on odd images",
    ),
    "batches_of_every_size": (
        "the correction is halved for batches of seventeen images",
        "f_in reads the first image of a batch for all",
        "f_in reads a view as if it were contiguous",
    ),
    "trains_as_specified": (
        "the correction is halved in training",
        "the logits are halved in training",
        "a ResNet's block is halved in training",
        "A of a GDFI is halved in training",
        "a plain layer normalizes by stored statistics in training",
        "Res-CSC forgets D2 u in training",
        "Res-CSC unfolds the code of D1 without its step in training",
        "a normalization keeps its statistics in training",
        "a normalization's momentum is that of the count",
    ),
    "gradients_as_specified": (
        "the correction has no gradient in training",
        "the correction has no gradient",
        "the correction has no gradient for batches of more than four images",
        "the correction has half its gradient",
        "recomputation moves the running statistics twice",
        "the interpolation has no gradient",
        "a ResNet's block has no gradient in training",
        "a ResNet's shared B has no gradient",
        "A of a GDFI has no gradient",
        "a layer of VGG has half its gradient",
        "Res-CSC's step c has no gradient",
        "a dictionary's transpose has no gradient",
        "ML-CSC's threshold has no gradient in training",
        "a dense layer has no gradient in training",
    ),
    "within_rounding": (
        "the correction is halved in float32",
        "r is not updated in float32",
        "a Winograd convolution is off by 1e-3 in float32",
    ),
    "training_step_as_specified": (
        "the gradient of a recomputed sigma is that of evaluation",
        "the head has no gradient by the feature",
    ),
    "sizes_as_specified": ("the features are scaled for one image",),
    "head_as_specified": (
        "pre_logits are normalized",
        "reset_classifier forgets num_classes",
        "reset_classifier changes the stem",
    ),
    "initializes_as_stated": (
        "the classifier starts at zero",
        "the stem starts three times as large",
        "the last normalization starts at zero",
        "running means start at one half",
        "two convolutions start with one draw",
        "the step c starts at two",
        "filters start with Kaiming's deviation",
        "thresholds start at -1",
    ),
    "features_are_given": ("a feature of every second grid is given",),
}


def _noticing(defect: Defect) -> list[Property]:
    return [checked for checked in MODEL_PROPERTIES if defect.name in NOTICED_BY.get(checked.name, ())]


def _plant(defect: Defect, monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    model = network(defect.network)
    right = defect.owner.__dict__.get(defect.method) or getattr(defect.owner, defect.method)
    right = right.__func__ if isinstance(right, staticmethod) else right
    monkeypatch.setattr(defect.owner, defect.method, defect.wrong(right))
    return model


@pytest.mark.parametrize("defect", DEFECTS, ids=str)
def test_a_defect_of_one_execution_is_noticed(defect: Defect, monkeypatch: pytest.MonkeyPatch) -> None:
    model = _plant(defect, monkeypatch)
    assert list(failures(model, _noticing(defect))) != [], f"{defect.name!r} survives"


@pytest.mark.nightly
@pytest.mark.parametrize("defect", DEFECTS, ids=str)
def test_all_properties_together_notice_a_defect(defect: Defect, monkeypatch: pytest.MonkeyPatch) -> None:
    model = _plant(defect, monkeypatch)
    assert next(failures(model, properties_of(model)), None) is not None


@pytest.mark.parametrize("name", ["plain"])
def test_a_network_without_a_defect_passes(name: str) -> None:
    assert list(failures(network(name), properties_of(network(name)))) == []


@pytest.mark.nightly
@pytest.mark.parametrize("name", NETWORKS)
def test_the_network_of_each_family_without_a_defect_passes(name: str) -> None:
    assert list(failures(network(name), properties_of(network(name)))) == []


def test_there_are_enough_defects_each_of_its_own() -> None:
    assert len({defect.name for defect in DEFECTS}) == len(DEFECTS) >= 60
    assert {defect.network for defect in DEFECTS} == set(NETWORKS)
    assert all(len(_noticing(defect)) == 1 for defect in DEFECTS)
