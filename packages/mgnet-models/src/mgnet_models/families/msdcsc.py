"""MSD-CSC, mixed-scale dense networks as convolutional sparse coding with dictionaries [I F^T], and its timm name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from timm.layers import ClassifierHead
from timm.models import build_model_with_cfg, generate_default_cfgs
from torch import nn

from mgnet_models.catalogue.datasets import CSC_PAPER, OF_THE_CSC_PAPER, final_size, model_cfg
from mgnet_models.catalogue.registry import register_names
from mgnet_models.families.sparse_coding import CodingLayer, Dictionary, Pursuit, PursuitKind, check_unfold
from mgnet_models.mgnet.stem import DataStem
from mgnet_models.nn.arguments import as_depths, check_common, check_flags, check_rates, check_sizes
from mgnet_models.nn.classifier import Network, feature_cfg
from mgnet_models.nn.layers import conv, make_act, make_norm, make_norm_act


class MsdCsc(Network):
    """Blocks of dilated dense layers, each the code of the layer before: image (b, in_chans, h, w) to logits.

    The layout is that of the authors' code: a stem of 16 channels, 3 blocks of 12 layers with growth 12 and dilations 1 to 6
    in turn, a bare 1x1 convolution and a 2x2 max-pool between blocks, filters that start at 0.1/sqrt(fan-in). `unfold`
    counts the pursuit's steps beyond the feed-forward one; parameters do not depend on it. `pursuit="layered"` is the figure
    of the paper, "global" what the code runs; `fista` adds momentum.

    Choices of this project: `norm` normalizes the new coordinates alone by default, so that with `unfold=0` a layer is
    exactly a dense dilated layer ("all": every coordinate, as the code has it; "none": no normalization in the layers);
    the threshold follows the normalization, where the code's is cancelled by it; statistics are kept for each unfolding.

    Raises ValueError for sizes below 1, an unknown pursuit, norm kind, norm or activation and a negative `unfold`.
    """

    def __init__(
        self,
        blocks: int = 3,
        layers: int = 12,
        growth: int = 12,
        stem_channels: int = 16,
        dilations: int = 6,
        unfold: int = 1,
        pursuit: PursuitKind = "layered",
        fista: bool = False,
        norm: Literal["new", "all", "none"] = "new",
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
        check_flags(fista=fista)
        check_unfold(unfold)
        if norm not in ("new", "all", "none"):
            raise ValueError(f"norm={norm!r} is unknown: use 'new', 'all' or 'none'")
        dd = {"device": device, "dtype": dtype}
        act = make_act(act_layer)
        code_norm = None if norm == "none" else make_norm(norm_layer, dd, affine=False)

        def layer(c: int, i: int) -> CodingLayer:
            std = 0.1 / (9 * c) ** 0.5
            D = Dictionary(c, growth, dd, std=std, dilation=i % dilations + 1, identity=True)
            return CodingLayer(D, unfold, act, dd, norm=code_norm, normalize_all=norm == "all")

        grids, widths = [], [stem_channels]
        for index in range(blocks):
            c = widths[-1]
            transition = nn.Sequential(conv(c, c, kernel=1, dd=dd), nn.MaxPool2d(2)) if index > 0 else None
            coding = [layer(c + growth * i, i) for i in range(layers)]
            grids.append(Pursuit(coding, unfold, pursuit, fista, transition))
            widths.append(c + growth * layers)
        super().__init__(
            stem=DataStem(in_chans, stem_channels, "cifar", make_norm_act(norm_layer, act_layer, dd), dd),
            grids=nn.Sequential(*grids),
            head=ClassifierHead(widths[-1], num_classes, pool_type=global_pool, drop_rate=drop_rate, **dd),
            in_chans=in_chans,
            num_classes=num_classes,
            channels=widths[1:],
            finest=1,
        )
        self.dilations = dilations
        self.init_weights()


def _create_msdcsc(name: str, pretrained: bool, **kwargs: Any) -> MsdCsc:
    return build_model_with_cfg(MsdCsc, name, pretrained, feature_cfg=feature_cfg(kwargs.get("blocks", 3), kwargs), **kwargs)


default_cfgs = generate_default_cfgs(
    {
        f"msdcsc40_k12.{tag}": model_cfg(tag, first_conv="stem.theta", pool_size=final_size(tag, 4), paper=CSC_PAPER)
        for tag in OF_THE_CSC_PAPER
    }
)

register_names(__name__, ("msdcsc40_k12",), _create_msdcsc)
