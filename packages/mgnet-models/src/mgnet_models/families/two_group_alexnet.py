"""The ImageNet network of Krizhevsky, Sutskever and Hinton (2012), a baseline of Table 4, with its two groups of channels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from timm.layers import ClassifierHead
from timm.models import build_model_with_cfg, generate_default_cfgs
from torch import Tensor, nn

from mgnet_models.catalogue.datasets import ALEXNET_PAPER, model_cfg
from mgnet_models.catalogue.registry import register_names
from mgnet_models.nn.classifier import Network, Stage, feature_cfg
from mgnet_models.nn.layers import ConvLayer, make_act


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

    Local response normalisation over 5 channels with k = 2, alpha = 1e-4, beta = 0.75 and overlapping 3x3 max-pools with
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


def _create_two_group_alexnet(name: str, pretrained: bool = False, **kwargs: Any) -> TwoGroupAlexNet:
    return build_model_with_cfg(TwoGroupAlexNet, name, pretrained, feature_cfg=feature_cfg(2, kwargs), **kwargs)


default_cfgs = generate_default_cfgs({"imagenet_alexnet.in1k": model_cfg("in1k", first_conv="stem.0.conv", paper=ALEXNET_PAPER)})

register_names(__name__, ("imagenet_alexnet",), _create_two_group_alexnet)
