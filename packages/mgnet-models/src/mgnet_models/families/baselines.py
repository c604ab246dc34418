"""Two baselines of Table 4 for 32x32 images, chains of convolutions and max-pools: AlexNet and VGG19 with BatchNorm."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from timm.layers import ClassifierHead
from timm.models import build_model_with_cfg, generate_default_cfgs
from torch import nn

from mgnet_models.catalogue.datasets import ALEXNET_PAPER, SMALL_IMAGES, final_size, model_cfg
from mgnet_models.catalogue.registry import register_names
from mgnet_models.nn.classifier import Network, Stage, feature_cfg
from mgnet_models.nn.layers import ConvLayer, NormAct, make_act, make_norm_act


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
        if len(widths) != len(kernels) or not all(widths):
            raise ValueError(f"widths={widths!r} and kernels={kernels!r}: give widths and one kernel size for each stage")
        dd = {"device": device, "dtype": dtype}
        act = make_act(act_layer)
        sigma: NormAct = make_norm_act(norm_layer, act_layer, dd) if batch_norm else lambda _: act()
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
            num_classes=num_classes,
            channels=[stage[-1] for stage, _ in stages],
            finest=stem_stride if rest else 2 * stem_stride,
        )
        self.init_weights()


_CONFIGURATIONS: dict[str, dict[str, Any]] = {
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


def _create_plain(name: str, pretrained: bool = False, **kwargs: Any) -> PlainNetwork:
    """Build the network that a registered name stands for; arguments given by the caller go before those of the name."""
    kwargs = _CONFIGURATIONS[name] | kwargs
    grids = len(kwargs["widths"]) - (len(kwargs["widths"][0]) == 1)
    return build_model_with_cfg(PlainNetwork, name, pretrained, feature_cfg=feature_cfg(grids, kwargs), **kwargs)


_PAPERS = {
    "cifar_alexnet": ALEXNET_PAPER,
    "cifar_vgg19_bn": ("arXiv:1409.1556", "Very Deep Convolutional Networks for Large-Scale Image Recognition"),
}

default_cfgs = generate_default_cfgs(
    {
        f"{name}.{tag}": model_cfg(tag, first_conv="stem.conv", pool_size=final_size(tag, 16), paper=_PAPERS[name])
        for name in _CONFIGURATIONS
        for tag in SMALL_IMAGES
    }
)

register_names(__name__, _CONFIGURATIONS, _create_plain)
