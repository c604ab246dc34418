"""The baselines of Table 4 that timm does not have: small AlexNet and VGG19, pre-act and Wide ResNets, and AlexNet of 2012."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

import torch.nn.functional as F
from timm.layers import ClassifierHead, calculate_drop_path_rates, create_conv2d
from timm.models import build_model_with_cfg, generate_default_cfgs
from timm.models.resnetv2 import DownsampleConv, PreActBasic, PreActBottleneck
from torch import Tensor, nn

from mgnet_models.catalogue.datasets import ALEXNET_PAPER, SMALL_IMAGES, final_size, model_cfg
from mgnet_models.catalogue.registry import register_names
from mgnet_models.mgnet.stem import DataStem
from mgnet_models.nn.arguments import as_depths, as_size_lists, as_sizes, check_common, check_flags, check_rates, check_sizes
from mgnet_models.nn.classifier import Network, Stage, feature_cfg
from mgnet_models.nn.layers import ConvLayer, NormAct, make_act, make_norm_act
from mgnet_models.notation import StemKind


class PlainNetwork(Network):
    """Stages of convolutions with bias, halved by 2x2 max-pools, then one fully connected layer.

    `widths` holds the output channels of each convolution, stage by stage, `kernels` the kernel size of each stage; the
    very first convolution is the stem and has `stem_stride`. The max-pool after the last stage, which leaves one pixel of
    a 32x32 image, is global max-pooling here. Image (b, in_chans, h, w) to logits. Raises ValueError for lists that do
    not fit.
    """

    def __init__(
        self,
        widths: Sequence[Sequence[int]],
        kernels: Sequence[int],
        stem_stride: int,
        batch_norm: bool,
        in_chans: int = 3,
        num_classes: int = 10,
        global_pool: str = "max",
        norm_layer: str | Callable[..., nn.Module] = "batchnorm2d",
        act_layer: str | Callable[..., nn.Module] = "relu",
        drop_rate: float = 0.0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        check_common(in_chans=in_chans, num_classes=num_classes, global_pool=global_pool)
        check_rates(drop_rate=drop_rate)
        check_sizes(stem_stride=stem_stride)
        widths, kernels = as_size_lists("widths", widths), as_sizes("kernels", kernels)
        check_flags(batch_norm=batch_norm)
        if len(widths) != len(kernels):
            raise ValueError(f"widths={widths!r} and kernels={kernels!r}: give widths and one kernel size for each stage")
        dd = {"device": device, "dtype": dtype}
        act = make_act(act_layer)
        norm_act = make_norm_act(norm_layer, act_layer, dd)
        sigma: NormAct = norm_act if batch_norm else lambda _: act()
        first, *rest = widths[0]
        # A first stage that is the stem alone is no grid of its own.
        stages: list[tuple[Sequence[int], int]] = [(rest, kernels[0])] if rest else []
        stages += zip(widths[1:], kernels[1:])
        grids, c = [], first
        for index, (stage, kernel) in enumerate(stages):
            pool = [nn.MaxPool2d(2)] if index > 0 or not rest else []
            layers = [ConvLayer(c_in, c_out, sigma, dd, kernel=kernel) for c_in, c_out in zip((c, *stage), stage)]
            grids.append(Stage(*pool, *layers))
            c = stage[-1]
        super().__init__(
            stem=ConvLayer(in_chans, first, sigma, dd, kernel=kernels[0], stride=stem_stride),
            grids=nn.Sequential(*grids),
            head=ClassifierHead(c, num_classes, pool_type=global_pool, drop_rate=drop_rate, **dd),
            in_chans=in_chans,
            num_classes=num_classes,
            channels=[stage[-1] for stage, _ in stages],
            finest=stem_stride if rest else 2 * stem_stride,
        )
        self.init_weights()


class PreActNetwork(Network):
    """Stages of pre-activation blocks, basic or bottleneck, with a 1x1 convolution where a shortcut changes the channels.

    `blocks` and `channels` have one entry for each stage; a bottleneck has a quarter of the channels inside. A small-image
    stem is the bare convolution, an ImageNet stem has BatchNorm, ReLU and max-pool; BatchNorm and ReLU end the chain.
    Image (b, in_chans, h, w) to logits. Raises ValueError for lists that do not fit and an unknown stem.
    """

    def __init__(
        self,
        blocks: Sequence[int],
        channels: Sequence[int],
        bottleneck: bool,
        stem_channels: int,
        in_chans: int = 3,
        num_classes: int = 1000,
        global_pool: str = "avg",
        stem: StemKind = "cifar",
        norm_layer: str | Callable[..., nn.Module] = "batchnorm2d",
        act_layer: str | Callable[..., nn.Module] = "relu",
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        check_common(in_chans=in_chans, num_classes=num_classes, global_pool=global_pool)
        check_rates(drop_rate=drop_rate, drop_path_rate=drop_path_rate)
        check_sizes(stem_channels=stem_channels)
        blocks, channels = as_depths("blocks", blocks), as_sizes("channels", channels)
        check_flags(bottleneck=bottleneck)
        if len(blocks) != len(channels):
            raise ValueError(f"blocks={tuple(blocks)} and channels={tuple(channels)}: give one positive entry for each stage")
        dd = {"device": device, "dtype": dtype}
        norm_act = make_norm_act(norm_layer, act_layer, dd)
        rates = iter(calculate_drop_path_rates(drop_path_rate, sum(blocks)))
        block = PreActBottleneck if bottleneck else PreActBasic

        def stage(index: int, count: int) -> Stage:
            c_in = (stem_channels, *channels)[index]
            return Stage(
                *(
                    block(
                        c_in if i == 0 else channels[index],
                        channels[index],
                        stride=2 if i == 0 and index > 0 else 1,
                        conv_layer=create_conv2d,
                        norm_layer=norm_act,
                        proj_layer=DownsampleConv if i == 0 else None,
                        drop_path_rate=rate,
                        **dd,
                    )
                    for i, rate in enumerate(islice(rates, count))
                )
            )

        super().__init__(
            stem=DataStem(in_chans, stem_channels, stem, norm_act if stem == "imagenet" else lambda _: nn.Identity(), dd),
            grids=nn.Sequential(*(stage(index, count) for index, count in enumerate(blocks))),
            head=ClassifierHead(channels[-1], num_classes, pool_type=global_pool, drop_rate=drop_rate, **dd),
            in_chans=in_chans,
            num_classes=num_classes,
            channels=channels,
            finest=4 if stem == "imagenet" else 1,
            norm=norm_act(channels[-1]),
        )
        self.init_weights()


class ResponseNorm(nn.Module):
    """x / (2 + 1e-4 S)^0.75 with S the sum of squares over the channel and two neighbours on each side.

    Written out because torch's layer divides alpha by the number of channels and has no bfloat16 kernel on the CPU.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, h, w) to the same shape."""
        squares = F.pad(x.square(), (0, 0, 0, 0, 2, 2))
        near = squares[:, 4:] + squares[:, 3:-1] + squares[:, 2:-2] + squares[:, 1:-3] + squares[:, :-4]
        return x * (2 + 1e-4 * near) ** -0.75


class TwoGroupAlexNet(Network):
    """Five convolutions, the second, fourth and fifth in two groups, and three fully connected layers.

    Local response normalization over 5 channels with k = 2, alpha = 1e-4, beta = 0.75 and overlapping 3x3 max-pools with
    stride 2, as the paper of 2012 has them. Image (b, in_chans, h, w) to logits; the fully connected layers want 224x224
    pixels, and features of other sizes are averaged to their 6x6.
    """

    def __init__(
        self,
        in_chans: int = 3,
        num_classes: int = 1000,
        global_pool: str = "avg",
        act_layer: str | Callable[..., nn.Module] = "relu",
        hidden: int = 4096,
        drop_rate: float = 0.5,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        check_common(in_chans=in_chans, num_classes=num_classes, global_pool=global_pool)
        check_rates(drop_rate=drop_rate)
        check_sizes(hidden=hidden)
        dd = {"device": device, "dtype": dtype}
        act = make_act(act_layer)

        def layer(c_in: int, c_out: int, kernel: int, groups: int) -> ConvLayer:
            return ConvLayer(c_in, c_out, lambda _: act(), dd, kernel=kernel, groups=groups)

        first = ConvLayer(in_chans, 96, lambda _: act(), dd, kernel=11, stride=4, padding=2)  # 224x224 -> 55x55

        super().__init__(
            stem=nn.Sequential(first, ResponseNorm()),
            grids=nn.Sequential(
                Stage(nn.MaxPool2d(3, 2), layer(96, 256, 5, 2), ResponseNorm()),
                Stage(nn.MaxPool2d(3, 2), layer(256, 384, 3, 1), layer(384, 384, 3, 2), layer(384, 256, 3, 2)),
            ),
            head=ClassifierHead(hidden, num_classes, pool_type=global_pool, drop_rate=drop_rate, **dd),
            in_chans=in_chans,
            num_classes=num_classes,
            channels=(256, 256),
            finest=8,
        )
        self.pre_logits: nn.Module = nn.Sequential(
            nn.MaxPool2d(3, 2),
            nn.AdaptiveAvgPool2d(6),
            nn.Conv2d(256, hidden, 6, **dd),  # a fully connected layer on 6x6 pixels
            act(),
            nn.Dropout(drop_rate),
            nn.Conv2d(hidden, hidden, 1, **dd),
            act(),
        )
        self.head_hidden_size = hidden
        self.init_weights()

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """The fully connected layers: (b, 256, h', w') -> (b, num_classes), or the hidden features (b, hidden)."""
        return self.head(self.pre_logits(x), pre_logits=pre_logits)

    def prune_intermediate_layers(
        self, indices: int | list[int] | tuple[int, ...] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """As in every network here; the hidden layers go with the classifier."""
        chosen = super().prune_intermediate_layers(indices, prune_norm, prune_head)
        if prune_head:
            self.pre_logits = nn.Identity()
        return chosen


_PLAIN: dict[str, dict[str, Any]] = {
    "cifar_alexnet": {
        "widths": ((64,), (192,), (384, 256, 256)),
        "kernels": (11, 5, 3),
        "stem_stride": 4,
        "batch_norm": False,
    },
    "cifar_vgg19_bn": {
        "widths": ((64,) * 2, (128,) * 2, (256,) * 4, (512,) * 4, (512,) * 4),
        "kernels": (3,) * 5,
        "stem_stride": 1,
        "batch_norm": True,
    },
}


def _create_plain(name: str, pretrained: bool, **kwargs: Any) -> PlainNetwork:
    """Build the network that a registered name stands for; arguments given by the caller go before those of the name."""
    kwargs = _PLAIN[name] | kwargs
    widths = as_size_lists("widths", kwargs["widths"])
    grids = len(widths) - (len(widths[0]) == 1)
    return build_model_with_cfg(PlainNetwork, name, pretrained, feature_cfg=feature_cfg(grids, kwargs), **kwargs)


def _wide(depth: int, factor: int) -> dict[str, Any]:
    return {
        "blocks": ((depth - 4) // 6,) * 3,
        "channels": (16 * factor, 32 * factor, 64 * factor),
        "bottleneck": False,
        "stem_channels": 16,
    }


_PREACT: dict[str, dict[str, Any]] = {
    "cifar_preactresnet1001": {"blocks": (111,) * 3, "channels": (64, 128, 256), "bottleneck": True, "stem_channels": 16},
    "cifar_wrn28_10": _wide(28, 10),
    "cifar_wrn28_2": _wide(28, 2),
    "cifar_wrn40_2": _wide(40, 2),
    "imagenet_preactresnet200": {
        "blocks": (3, 24, 36, 3),
        "channels": (256, 512, 1024, 2048),
        "bottleneck": True,
        "stem_channels": 64,
        "stem": "imagenet",
    },
}


def _create_preact(name: str, pretrained: bool, **kwargs: Any) -> PreActNetwork:
    """Build the network that a registered name stands for; arguments given by the caller go before those of the name."""
    kwargs = _PREACT[name] | kwargs
    return build_model_with_cfg(PreActNetwork, name, pretrained, feature_cfg=feature_cfg(kwargs["blocks"], kwargs), **kwargs)


def _create_two_group_alexnet(name: str, pretrained: bool, **kwargs: Any) -> TwoGroupAlexNet:
    return build_model_with_cfg(TwoGroupAlexNet, name, pretrained, feature_cfg=feature_cfg(2, kwargs), **kwargs)


_VGG_PAPER = ("arXiv:1409.1556", "Very Deep Convolutional Networks for Large-Scale Image Recognition")
_WIDE_PAPER = ("arXiv:1605.07146", "Wide Residual Networks")
_PREACT_PAPER = ("arXiv:1603.05027", "Identity Mappings in Deep Residual Networks")


def _plain_cfg(name: str, tag: str) -> dict[str, Any]:
    paper = ALEXNET_PAPER if name == "cifar_alexnet" else _VGG_PAPER
    return model_cfg(tag, first_conv="stem.conv", pool_size=final_size(tag, 16, rounds_up=False), paper=paper)


def _preact_cfg(name: str, tag: str) -> dict[str, Any]:
    paper = _WIDE_PAPER if "wrn" in name else _PREACT_PAPER
    return model_cfg(tag, first_conv="stem.theta", pool_size=final_size(tag, 32 if tag == "in1k" else 4), paper=paper)


default_cfgs = generate_default_cfgs(
    {f"{name}.{tag}": _plain_cfg(name, tag) for name in _PLAIN for tag in SMALL_IMAGES}
    | {
        f"{name}.{tag}": _preact_cfg(name, tag)
        for name in _PREACT
        for tag in (("in1k",) if name.startswith("imagenet") else SMALL_IMAGES)
    }
    | {"imagenet_alexnet.in1k": model_cfg("in1k", first_conv="stem.0.conv", pool_size=(13, 13), paper=ALEXNET_PAPER)}
)

register_names(__name__, _PLAIN, _create_plain)
register_names(__name__, _PREACT, _create_preact)
register_names(__name__, ("imagenet_alexnet",), _create_two_group_alexnet)
