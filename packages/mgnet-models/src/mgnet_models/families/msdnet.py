"""MSDNet, the mixed-scale dense network of Pelt and Sethian (2018) in the layout of MSD-CSC, and its timm name.

Each layer reads all channels before it by one dilated 3x3 convolution. MSD-CSC without unfolding is this network where its
signals have no negative entries: its dictionaries [I F^T] keep them in the identity part.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from timm.layers import ClassifierHead
from timm.models import build_model_with_cfg, generate_default_cfgs
from torch import Tensor, nn

from mgnet_models.catalogue.datasets import OF_THE_CSC_PAPER, final_size, model_cfg
from mgnet_models.catalogue.registry import register_names
from mgnet_models.mgnet.stem import DataStem
from mgnet_models.nn.arguments import as_depths, check_common, check_rates, check_sizes
from mgnet_models.nn.classifier import Network, Stage, feature_cfg
from mgnet_models.nn.layers import DeviceDtype, NormAct, check_weights, conv, make_norm_act


class DenseLayer(nn.Module):
    """[x; sigma(F x)] with a dilated 3x3 convolution F without bias, sigma being BatchNorm and ReLU."""

    def __init__(self, c_in: int, growth: int, dilation: int, sigma: NormAct, dd: DeviceDtype) -> None:
        super().__init__()
        check_weights("a convolution", growth, c_in, 3, 3)
        self.F = nn.Conv2d(c_in, growth, 3, padding=dilation, dilation=dilation, bias=False, **dd)
        self.sigma = sigma(growth)

    def forward(self, x: Tensor) -> Tensor:
        """(b, c_in, h, w) -> (b, c_in + growth, h, w)."""
        return torch.cat((x, self.sigma(self.F(x))), dim=1)


class Transition(nn.Module):
    """A bare 1x1 convolution, then a 2x2 max-pool: (b, c, h, w) -> (b, c, floor(h/2), floor(w/2))."""

    def __init__(self, channels: int, dd: DeviceDtype) -> None:
        super().__init__()
        self.transition = conv(channels, channels, kernel=1, dd=dd)
        self.pool = nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        """A quarter of the pixels, the same number of channels."""
        return self.pool(self.transition(x))


class MsdNet(Network):
    """Blocks of dilated dense layers: image (b, in_chans, h, w) to logits (b, num_classes).

    `blocks`, `layers`, `growth`, `stem_channels` and `dilations` as in MSD-CSC, with which the sparse-coding paper compares it:
    3 blocks of 12 layers, dilations 1 to 6 in turn. BatchNorm in the layers is the choice of this project.

    Raises ValueError for sizes below 1 and for an unknown norm or activation.
    """

    def __init__(
        self,
        blocks: int = 3,
        layers: int = 12,
        growth: int = 12,
        stem_channels: int = 16,
        dilations: int = 6,
        in_chans: int = 3,
        num_classes: int = 10,
        global_pool: str = "avg",
        norm_layer: str | Callable[..., nn.Module] = "batchnorm2d",
        act_layer: str | Callable[..., nn.Module] = "relu",
        drop_rate: float = 0.0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        check_common(in_chans=in_chans, num_classes=num_classes, global_pool=global_pool)
        check_rates(drop_rate=drop_rate)
        check_sizes(blocks=blocks, layers=layers, dilations=dilations)
        as_depths("blocks", [blocks])
        as_depths("layers", [layers] * blocks)
        check_sizes(growth=growth, stem_channels=stem_channels)
        dd = {"device": device, "dtype": dtype}
        sigma = make_norm_act(norm_layer, act_layer, dd)
        starts = [stem_channels + growth * layers * block for block in range(blocks + 1)]

        def stage(block: int) -> Stage:
            transition = [Transition(starts[block], dd)] if block > 0 else []
            dense = [DenseLayer(starts[block] + growth * i, growth, i % dilations + 1, sigma, dd) for i in range(layers)]
            return Stage(*transition, *dense)

        super().__init__(
            stem=DataStem(in_chans, stem_channels, "cifar", sigma, dd),
            grids=nn.Sequential(*map(stage, range(blocks))),
            head=ClassifierHead(starts[-1], num_classes, pool_type=global_pool, drop_rate=drop_rate, **dd),
            in_chans=in_chans,
            num_classes=num_classes,
            channels=starts[1:],
            finest=1,
        )
        self.dilations = dilations
        self.init_weights()


def _create_msdnet(name: str, pretrained: bool, **kwargs: Any) -> MsdNet:
    return build_model_with_cfg(MsdNet, name, pretrained, feature_cfg=feature_cfg(kwargs.get("blocks", 3), kwargs), **kwargs)


_PAPER = ("doi:10.1073/pnas.1715832114", "A mixed-scale dense convolutional neural network for image analysis")

default_cfgs = generate_default_cfgs(
    {
        f"msdnet40_k12.{tag}": model_cfg(tag, first_conv="stem.theta", pool_size=final_size(tag, 4), paper=_PAPER)
        for tag in OF_THE_CSC_PAPER
    }
)

register_names(__name__, ("msdnet40_k12",), _create_msdnet)
