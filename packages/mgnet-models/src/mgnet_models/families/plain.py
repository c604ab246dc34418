"""Plain networks: the CIFAR ResNets of He et al. without their shortcuts, and their timm names plain20 and plain56.

The paper on sparse coding reads one such layer as one ISTA step from zero, and compares with depths 20 and 56.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from timm.layers import ClassifierHead
from timm.models import build_model_with_cfg, generate_default_cfgs
from torch import Tensor, nn

from mgnet_models.catalogue.datasets import OF_THE_CSC_PAPER, final_size, model_cfg
from mgnet_models.catalogue.registry import register_names
from mgnet_models.mgnet.stem import DataStem
from mgnet_models.nn.arguments import as_depths, as_sizes, check_common, check_rates
from mgnet_models.nn.classifier import Network, Stage, feature_cfg
from mgnet_models.nn.layers import DeviceDtype, NormAct, conv, make_norm_act


class PlainLayer(nn.Module):
    """sigma(K * x) with a 3x3 convolution K without bias, sigma being BatchNorm and ReLU."""

    def __init__(self, c_in: int, c_out: int, stride: int, sigma: NormAct, dd: DeviceDtype) -> None:
        super().__init__()
        self.conv = conv(c_in, c_out, kernel=3, stride=stride, dd=dd)
        self.sigma = sigma(c_out)

    def forward(self, x: Tensor) -> Tensor:
        """(b, c_in, h, w) -> (b, c_out, ceil(h/stride), ceil(w/stride))."""
        return self.sigma(self.conv(x))


class Plain(Network):
    """A stem and stages of 3x3 convolutions: image (b, in_chans, h, w) to logits (b, num_classes).

    `convolutions` and `channels` have one entry for each stage, 2n and 16, 32, 64 in the paper: 6n + 2 layers with the stem
    and the classifier. The first convolution of each stage but the first has stride 2. Raises ValueError for lists that do
    not fit and for an unknown norm or activation.
    """

    def __init__(
        self,
        convolutions: Sequence[int] = (6, 6, 6),
        channels: Sequence[int] = (16, 32, 64),
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
        convolutions, channels = as_depths("convolutions", convolutions), as_sizes("channels", channels)
        if len(convolutions) != len(channels):
            raise ValueError(
                f"convolutions={tuple(convolutions)} and channels={tuple(channels)}: give one positive entry for each stage"
            )
        dd = {"device": device, "dtype": dtype}
        sigma = make_norm_act(norm_layer, act_layer, dd)

        def layer(stage: int, i: int) -> PlainLayer:
            first = i == 0 and stage > 0
            return PlainLayer(channels[stage - first], channels[stage], 1 + first, sigma, dd)

        super().__init__(
            stem=DataStem(in_chans, channels[0], "cifar", sigma, dd),
            grids=nn.Sequential(*(Stage(*(layer(s, i) for i in range(count))) for s, count in enumerate(convolutions))),
            head=ClassifierHead(channels[-1], num_classes, pool_type=global_pool, drop_rate=drop_rate, **dd),
            in_chans=in_chans,
            num_classes=num_classes,
            channels=channels,
            finest=1,
        )
        self.init_weights()


_PLAIN: dict[str, dict[str, Any]] = {
    "plain20": {"convolutions": (6, 6, 6)},
    "plain56": {"convolutions": (18, 18, 18)},
}
_PAPER = ("arXiv:1512.03385", "Deep Residual Learning for Image Recognition")


def _create_plain(name: str, pretrained: bool, **kwargs: Any) -> Plain:
    """Build the network that a registered name stands for; arguments given by the caller go before those of the name."""
    kwargs = _PLAIN[name] | kwargs
    return build_model_with_cfg(Plain, name, pretrained, feature_cfg=feature_cfg(kwargs["convolutions"], kwargs), **kwargs)


default_cfgs = generate_default_cfgs(
    {
        f"{name}.{tag}": model_cfg(tag, first_conv="stem.theta", pool_size=final_size(tag, 4), paper=_PAPER)
        for name in _PLAIN
        for tag in OF_THE_CSC_PAPER
    }
)

register_names(__name__, _PLAIN, _create_plain)
