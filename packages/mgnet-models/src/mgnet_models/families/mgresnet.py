"""ResNet and pre-act ResNet of 18 and 34 layers, Algorithm 1, with A and B shared on each grid or not, and their timm names."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

from timm.layers import ClassifierHead, calculate_drop_path_rates
from timm.models import build_model_with_cfg, generate_default_cfgs
from torch import nn

from mgnet_models.catalogue.datasets import SMALL_IMAGES, final_size, model_cfg
from mgnet_models.catalogue.registry import register_names
from mgnet_models.families.residual_grid import PoolingB, ResidualGrid
from mgnet_models.mgnet.stem import DataStem
from mgnet_models.nn.classifier import Network, feature_cfg
from mgnet_models.nn.layers import make_act, make_norm, make_norm_act
from mgnet_models.notation import StemKind


class MgResNet(Network):
    """The original and the modified (pre-act) ResNet with basic blocks: image (b, in_chans, h, w) to logits.

    `blocks` counts the blocks of each grid with its pooling block, `(2, 2, 2, 2)` for 18 layers; nu of Algorithm 1 is one
    less on every grid but the first. `channels` has one entry for each grid.

    Normalisation as the printed counts have it: in ResNet after each convolution; in pre-act ResNet before both
    convolutions of each block and, with a ReLU, before the average pooling, but none in stem and shortcut.

    The text keeps B^{l,0} of a pooling block as a 3x3 convolution of its own where B is shared; no printed count of a
    network with shared B agrees with that. `pooling_B` selects the reading of B^{l,0}, for `share_B` alone:
    "lift_s1" (default): a 1x1 convolution with stride 1, then the shared B^l with stride 2; "lift": 1x1 with stride 2,
    then B^l; "proj1x1": 1x1 with stride 2 alone; "text": 3x3 with stride 2 alone. The first three have one count, the
    one that the tables ask for; that the first is meant is an inference of this project.

    Raises ValueError for lists that do not fit, an unknown stem, norm, activation or reading, and for a reading without
    shared B.
    """

    def __init__(
        self,
        blocks: Sequence[int] = (2, 2, 2, 2),
        channels: Sequence[int] = (64, 128, 256, 512),
        share_A: bool = False,
        share_B: bool = False,
        preact: bool = False,
        pooling_B: PoolingB = "lift_s1",
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
        _check(blocks, channels, share_B, pooling_B)
        dd = {"device": device, "dtype": dtype}
        norm_act, act = make_norm_act(norm_layer, act_layer, dd), make_act(act_layer)
        rates = iter(calculate_drop_path_rates(drop_path_rate, sum(blocks)))
        super().__init__(
            stem=DataStem(in_chans, channels[0], stem, (lambda _: act()) if preact else norm_act, dd),
            grids=nn.Sequential(
                *(
                    ResidualGrid(
                        count,
                        c_fine,
                        c,
                        norm_act,
                        make_norm(norm_layer, dd),
                        act,
                        dd,
                        share_A=share_A,
                        share_B=share_B,
                        preact=preact,
                        pooling_B=pooling_B,
                        drop_path_rates=list(islice(rates, count)),
                    )
                    for count, c_fine, c in zip(blocks, (None, *channels), channels)
                )
            ),
            head=ClassifierHead(channels[-1], num_classes, pool_type=global_pool, drop_rate=drop_rate, **dd),
            num_classes=num_classes,
            channels=channels,
            finest=4 if stem == "imagenet" else 1,
            norm=norm_act(channels[-1]) if preact else None,
        )
        self.init_weights()


def _check(blocks: Sequence[int], channels: Sequence[int], share_B: bool, pooling_B: str) -> None:
    if not blocks or len(blocks) != len(channels):
        raise ValueError(f"blocks={tuple(blocks)} and channels={tuple(channels)}: give one positive entry for each grid to both")
    if min(*blocks, *channels) < 1:
        raise ValueError(f"blocks={tuple(blocks)} and channels={tuple(channels)}: each entry must be at least 1")
    if pooling_B not in ("lift_s1", "lift", "proj1x1", "text"):
        raise ValueError(f"pooling_B={pooling_B!r} is unknown: use 'lift_s1', 'lift', 'proj1x1' or 'text'")
    if not share_B and pooling_B != "lift_s1":
        raise ValueError(f"pooling_B={pooling_B!r} reads a pooling block with shared B: take a name that ends in _bl")


_BLOCKS = {"18": (2, 2, 2, 2), "34": (3, 4, 6, 3)}
_NAME = re.compile(r"mg(?P<preact>preact)?resnet(?P<depth>18|34)_(?P<A>ali|al)_(?P<B>bli|bl)(?P<stem>_224)?")

MGRESNET_NAMES = tuple(
    f"mg{family}resnet{depth}_{A}_{B}{stem}"
    for family in ("", "preact")
    for depth in _BLOCKS
    for A in ("ali", "al")
    for B in ("bli", "bl")
    for stem in ("", "_224")
)


def _create_mgresnet(name: str, pretrained: bool = False, **kwargs: Any) -> MgResNet:
    """Build the network that a registered name stands for; arguments given by the caller go before those of the name."""
    match = _NAME.fullmatch(name)
    assert match is not None  # names are registered from the list above
    kwargs = {
        "blocks": _BLOCKS[match["depth"]],
        "share_A": match["A"] == "al",
        "share_B": match["B"] == "bl",
        "preact": match["preact"] is not None,
        "stem": "imagenet" if match["stem"] else "cifar",
    } | kwargs
    return build_model_with_cfg(MgResNet, name, pretrained, feature_cfg=feature_cfg(len(kwargs["blocks"]), kwargs), **kwargs)


def _cfg(tag: str) -> dict[str, Any]:
    return model_cfg(tag, first_conv="stem.theta", pool_size=final_size(tag, 32 if tag == "in1k" else 8))


default_cfgs = generate_default_cfgs(
    {f"{name}.{tag}": _cfg(tag) for name in MGRESNET_NAMES for tag in (("in1k",) if name.endswith("_224") else SMALL_IMAGES)}
)

register_names(__name__, MGRESNET_NAMES, _create_mgresnet)
