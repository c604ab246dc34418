"""Pre-act ResNets and Wide ResNets of Table 4, made of timm's pre-activation blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

from timm.layers import ClassifierHead, calculate_drop_path_rates, create_conv2d
from timm.models import build_model_with_cfg, generate_default_cfgs
from timm.models.resnetv2 import DownsampleConv, PreActBasic, PreActBottleneck
from torch import nn

from mgnet_models.catalogue.datasets import SMALL_IMAGES, final_size, model_cfg
from mgnet_models.catalogue.registry import register_names
from mgnet_models.mgnet.stem import DataStem
from mgnet_models.nn.classifier import Network, Stage, feature_cfg
from mgnet_models.nn.layers import make_norm_act
from mgnet_models.notation import StemKind


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
        if not blocks or len(blocks) != len(channels) or min(blocks) < 1:
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
            num_classes=num_classes,
            channels=channels,
            finest=4 if stem == "imagenet" else 1,
            norm=norm_act(channels[-1]),
        )
        self.init_weights()


def _wide(depth: int, factor: int) -> dict[str, Any]:
    return {
        "blocks": ((depth - 4) // 6,) * 3,
        "channels": (16 * factor, 32 * factor, 64 * factor),
        "bottleneck": False,
        "stem_channels": 16,
    }


_CONFIGURATIONS: dict[str, dict[str, Any]] = {
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


def _create_preact(name: str, pretrained: bool = False, **kwargs: Any) -> PreActNetwork:
    """Build the network that a registered name stands for; arguments given by the caller go before those of the name."""
    kwargs = _CONFIGURATIONS[name] | kwargs
    return build_model_with_cfg(PreActNetwork, name, pretrained, feature_cfg=feature_cfg(len(kwargs["blocks"]), kwargs), **kwargs)


_WIDE_PAPER = ("arXiv:1605.07146", "Wide Residual Networks")
_PREACT_PAPER = ("arXiv:1603.05027", "Identity Mappings in Deep Residual Networks")


def _cfg(name: str, tag: str) -> dict[str, Any]:
    return model_cfg(
        tag,
        first_conv="stem.theta",
        pool_size=final_size(tag, 32 if tag == "in1k" else 4),
        paper=_WIDE_PAPER if "wrn" in name else _PREACT_PAPER,
    )


default_cfgs = generate_default_cfgs(
    {
        f"{name}.{tag}": _cfg(name, tag)
        for name in _CONFIGURATIONS
        for tag in (("in1k",) if name.startswith("imagenet") else SMALL_IMAGES)
    }
)

register_names(__name__, _CONFIGURATIONS, _create_preact)
