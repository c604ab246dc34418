"""Res-CSC, residual networks as convolutional sparse coding with a start at the skip, and its timm names."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from timm.layers import ClassifierHead, DropPath, calculate_drop_path_rates
from timm.models import build_model_with_cfg, generate_default_cfgs
from torch import Tensor, nn

from mgnet_models.catalogue.datasets import CSC_PAPER, OF_THE_CSC_PAPER, final_size, model_cfg
from mgnet_models.catalogue.registry import register_names
from mgnet_models.families.sparse_coding import Dictionary, ahead, check_unfold, momentum_of, transposed
from mgnet_models.mgnet.stem import DataStem
from mgnet_models.nn.arguments import as_depths, as_sizes, check_common, check_flags, check_rates
from mgnet_models.nn.classifier import Network, Stage, feature_cfg
from mgnet_models.nn.layers import DeviceDtype, NormAct, conv, make_act, make_norm


class Threshold(nn.Module):
    """v + b with one learned b for each channel: what stands in the place of a normalization in the pure pursuit."""

    def __init__(self, channels: int, dd: DeviceDtype) -> None:
        super().__init__()
        self.b = nn.Parameter(torch.zeros(channels, **dd))

    def reset_parameters(self) -> None:
        """No threshold."""
        nn.init.zeros_(self.b)

    def forward(self, v: Tensor) -> Tensor:
        """(b, channels, h, w) to the same shape."""
        return v + self.b.view(1, -1, 1, 1)


class ResCscBlock(nn.Module):
    """Two layers of a sparse-coding network: the code f of u from zero, then one ISTA step for D2 u = f that starts at u.

    f = ReLU(norm(D1^T u)), u <- ReLU(u + c norm(D2^T (f - D2 u))). Variant "B" leaves D2 u out; with c = 1 that is the basic
    block of ResNet. With stride 2 or more channels the step starts at u subsampled and padded with zero channels, so that
    no block has a shortcut convolution.

    `unfold` adds as many steps to both layers, f <- ReLU(f + c_f norm(D1^T (u - D1 f))) first and those of u then, each
    from where the step before ended or, with `fista`, beyond it. c_f is there with unfolding alone: one step from zero has no
    scale of its own.
    """

    def __init__(
        self,
        c_in: int,
        channels: int,
        stride: int,
        norm: NormAct,
        act: Callable[[], nn.Module],
        dd: DeviceDtype,
        *,
        corrects: bool,
        step: float,
        unfold: int = 0,
        fista: bool = False,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__()
        self.stride = stride
        self.new_channels = channels - c_in
        self.corrects = corrects
        self.initial_step = step
        self.momentum = momentum_of(unfold, fista)
        self.D1 = conv(c_in, channels, kernel=3, stride=stride, dd=dd)
        self.norm_f = norm(channels)
        self.act_f = act()
        self.D2 = Dictionary(channels, channels, dd, std=(2 / (9 * channels)) ** 0.5)
        self.norm_u = norm(channels)
        self.further_norms_f = _further(self.norm_f, norm, channels, unfold)
        self.further_norms_u = _further(self.norm_u, norm, channels, unfold)
        self.c_f = nn.Parameter(torch.empty(1, **dd)) if unfold > 0 else None
        self.c = nn.Parameter(torch.empty(1, **dd))
        self.drop_path = DropPath(drop_path_rate) if drop_path_rate > 0 else nn.Identity()
        self.act_u = act()
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """The steps c and c_f at their start."""
        for step in (self.c, self.c_f):
            if step is not None:
                nn.init.constant_(step, self.initial_step)

    def skip(self, u: Tensor) -> Tensor:
        """Where the step starts: u, on the grid and with the channels of its result."""
        # Pooling over one pixel subsamples with the size that torch.export knows from the strided convolution.
        start = F.avg_pool2d(u, 1, self.stride) if self.stride > 1 else u
        return F.pad(start, (0, 0, 0, 0, 0, self.new_channels)) if self.new_channels > 0 else start

    def forward(self, u: Tensor) -> Tensor:
        """(b, c_in, h, w) -> (b, channels, ceil(h/stride), ceil(w/stride))."""
        f = self.code(u)
        u = before = self.skip(u)
        for t, momentum in enumerate(self.momentum):
            y = ahead(u, before, momentum)
            before, u = u, self.step(t, y, f)
        return u

    def code(self, x: Tensor) -> Tensor:
        """The code f of the signal x for D1: one step from zero, then the unfoldings."""
        v = self.norm_f(self.D1(x))
        f = before = self.act_f(v if self.c_f is None else self.c_f * v)
        for t, momentum in enumerate(self.momentum[1:], start=1):
            y = ahead(f, before, momentum)
            r = x - transposed(y, self.D1.weight, x, stride=self.stride)
            before, f = f, self.act_f(y + self.c_f * _of_step(t, self.norm_f, self.further_norms_f)(self.D1(r)))
        return f

    def step(self, t: int, u: Tensor, f: Tensor) -> Tensor:
        """Step t for D2 u = f from u."""
        r = f - self.D2.synthesis(u, f) if self.corrects else f
        norm_u = _of_step(t, self.norm_u, self.further_norms_u)
        return self.act_u(u + self.drop_path(self.c * norm_u(self.D2.analysis(r))))


def _further(first: nn.Module, norm: NormAct, channels: int, unfold: int) -> nn.ModuleList:
    """Normalizations of the steps after the first; a threshold belongs to the layer, whatever the step."""
    return nn.ModuleList([] if isinstance(first, Threshold) else [norm(channels) for _ in range(unfold)])


def _of_step(t: int, first: nn.Module, further: nn.ModuleList) -> nn.Module:
    return further[t - 1] if t > 0 and len(further) > 0 else first


class ResCsc(Network):
    """Res-CSC: image (b, in_chans, h, w) to logits.

    The block and its variants "A" and "B", the depths and the tasks come from the authors' slides. Choices of this project,
    since no source states them: the plan of the CIFAR ResNet (stem of 16 channels, stages of 16, 32, 64), BatchNorm after
    each of the two convolutions, the padded skip where a stage begins, one learned c a block that starts at 1. With
    `normalize=False` thresholds stand in the place of all normalizations, each block is exactly an ISTA step, and c starts
    at 1/8, about 1/|D2|^2 for the weights it starts with.

    `unfold` counts the steps beyond the feed-forward ones, in both layers of each block; `fista` adds momentum, which the first
    unfolding does not have yet. The abstract states both for Res-CSC and not where they go: that each step has a normalization
    of its own, weights included, and one c_f a block are choices of this project. Variant "B" has no term to iterate.

    Raises ValueError for lists that do not fit, channels that shrink, an unknown variant, norm or activation, a negative `unfold`
    and variant "B" with unfolding.
    """

    def __init__(
        self,
        blocks: Sequence[int] = (3, 3, 3),
        channels: Sequence[int] = (16, 32, 64),
        variant: Literal["A", "B"] = "A",
        unfold: int = 0,
        fista: bool = False,
        normalize: bool = True,
        in_chans: int = 3,
        num_classes: int = 10,
        global_pool: str = "avg",
        norm_layer: str | Callable[..., nn.Module] = "batchnorm2d",
        act_layer: str | Callable[..., nn.Module] = "relu",
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        check_common(in_chans=in_chans, num_classes=num_classes, global_pool=global_pool)
        check_rates(drop_rate=drop_rate, drop_path_rate=drop_path_rate)
        blocks, channels = as_depths("blocks", blocks), as_sizes("channels", channels)
        check_flags(normalize=normalize, fista=fista)
        check_unfold(unfold)
        if variant not in ("A", "B"):
            raise ValueError(f"variant={variant!r} is unknown: use 'A', with the term D2 u, or 'B', without")
        if variant == "B" and unfold > 0:
            raise ValueError(f"variant='B' with unfold={unfold}: without the term D2 u there is nothing to iterate, use 'A'")
        if len(blocks) != len(channels):
            raise ValueError(f"blocks={tuple(blocks)} and channels={tuple(channels)}: give one positive entry for each stage")
        if list(channels) != sorted(channels):
            raise ValueError(f"channels={tuple(channels)} shrink: a padded skip can only add channels")
        dd = {"device": device, "dtype": dtype}
        act = make_act(act_layer)
        norm: NormAct = make_norm(norm_layer, dd) if normalize else lambda c: Threshold(c, dd)

        rates = iter(calculate_drop_path_rates(drop_path_rate, sum(blocks)))

        def block(stage: int, i: int) -> ResCscBlock:
            first = i == 0 and stage > 0
            return ResCscBlock(
                channels[stage - 1 if first else stage],
                channels[stage],
                2 if first else 1,
                norm,
                act,
                dd,
                corrects=variant == "A",
                step=1.0 if normalize else 1 / 8,
                unfold=unfold,
                fista=fista,
                drop_path_rate=next(rates),
            )

        super().__init__(
            stem=DataStem(in_chans, channels[0], "cifar", lambda c: nn.Sequential(norm(c), act()), dd),
            grids=nn.Sequential(*(Stage(*(block(s, i) for i in range(count))) for s, count in enumerate(blocks))),
            head=ClassifierHead(channels[-1], num_classes, pool_type=global_pool, drop_rate=drop_rate, **dd),
            in_chans=in_chans,
            num_classes=num_classes,
            channels=channels,
            finest=1,
        )
        self.init_weights()


_NAME = re.compile(r"rescsc(\d+)")

RESCSC_NAMES = tuple(f"rescsc{depth}" for depth in (20, 32, 44, 56, 110, 218))


def _create_rescsc(name: str, pretrained: bool, **kwargs: Any) -> ResCsc:
    """Build the depth that a registered name stands for, 6 n + 2 with n blocks a stage."""
    match = _NAME.fullmatch(name)
    assert match is not None  # names are registered from the list above
    kwargs = {"blocks": ((int(match[1]) - 2) // 6,) * 3} | kwargs
    # timm's builder takes `variant` for the name of the network.
    network = partial(ResCsc, variant=kwargs.pop("variant", "A"))
    return build_model_with_cfg(network, name, pretrained, feature_cfg=feature_cfg(kwargs["blocks"], kwargs), **kwargs)


default_cfgs = generate_default_cfgs(
    {
        f"{name}.{tag}": model_cfg(tag, first_conv="stem.theta", pool_size=final_size(tag, 4), paper=CSC_PAPER)
        for name in RESCSC_NAMES
        for tag in OF_THE_CSC_PAPER
    }
)

register_names(__name__, RESCSC_NAMES, _create_rescsc)
