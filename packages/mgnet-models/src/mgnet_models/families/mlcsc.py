"""ML-CSC, the multi-layer sparse-coding network that Res-CSC and MSD-CSC are compared with, and its timm name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from timm.layers import ClassifierHead
from timm.models import build_model_with_cfg, generate_default_cfgs
from torch import nn

from mgnet_models.catalogue.datasets import ML_CSC_PAPER, OF_THE_CSC_PAPER, final_size, model_cfg
from mgnet_models.catalogue.registry import register_names
from mgnet_models.families.sparse_coding import CodingLayer, Dictionary, Pursuit, PursuitKind, check_unfold
from mgnet_models.nn.arguments import as_size_lists, as_sizes, check_common, check_flags, check_rates
from mgnet_models.nn.classifier import Network, Stage, feature_cfg
from mgnet_models.nn.layers import ConvLayer, make_act


class MlCsc(Network):
    """Convolutional dictionaries whose deepest code a small plain network classifies: image (b, in_chans, h, w) to logits.

    The layout is that of the authors' CIFAR network: dictionaries of 4x4 atoms with stride 2 and `coding` atoms, then 3x3
    convolutions of the widths `plain`, stage by stage with a 2x2 max-pool between stages and after the last (global here,
    the same for 32x32 images). No normalization; filters of the dictionaries start at 0.1/sqrt(fan-in). `unfold`, `pursuit`
    and `fista` as in MSD-CSC; with `unfold=0` it is a plain network. The defaults of these three are choices of this
    project; "global" with 6 unfoldings is what the authors report.

    Raises ValueError for empty lists, an unknown pursuit or activation and a negative `unfold`.
    """

    def __init__(
        self,
        coding: Sequence[int] = (32, 64, 128),
        plain: Sequence[Sequence[int]] = ((256, 512), (512,)),
        unfold: int = 1,
        pursuit: PursuitKind = "layered",
        fista: bool = False,
        in_chans: int = 3,
        num_classes: int = 10,
        global_pool: str = "max",
        act_layer: str | Callable[..., nn.Module] = "relu",
        drop_rate: float = 0.0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        check_common(in_chans=in_chans, num_classes=num_classes, global_pool=global_pool)
        check_rates(drop_rate=drop_rate)
        coding, plain = as_sizes("coding", coding), as_size_lists("plain", plain)
        check_flags(fista=fista)
        check_unfold(unfold)
        dd = {"device": device, "dtype": dtype}
        act = make_act(act_layer)

        def layer(c: int, atoms: int) -> CodingLayer:
            D = Dictionary(c, atoms, dd, std=0.1 / (16 * c) ** 0.5, kernel=4, stride=2)
            return CodingLayer(D, unfold, act, dd)

        layers = [layer(c, atoms) for c, atoms in zip((in_chans, *coding), coding)]
        grids, c = [], coding[-1]
        for index, widths in enumerate(plain):
            start = nn.MaxPool2d(2) if index > 0 else Pursuit(layers, unfold, pursuit, fista)
            grids.append(Stage(start, *(ConvLayer(a, b, lambda _: act(), dd) for a, b in zip((c, *widths), widths))))
            c = widths[-1]
        super().__init__(
            stem=nn.Identity(),
            grids=nn.Sequential(*grids),
            head=ClassifierHead(c, num_classes, pool_type=global_pool, drop_rate=drop_rate, **dd),
            in_chans=in_chans,
            num_classes=num_classes,
            channels=[widths[-1] for widths in plain],
            finest=2 ** len(coding),
        )
        self.init_weights()


def _create_mlcsc(name: str, pretrained: bool, **kwargs: Any) -> MlCsc:
    return build_model_with_cfg(MlCsc, name, pretrained, feature_cfg=feature_cfg(kwargs.get("plain", (1, 2)), kwargs), **kwargs)


default_cfgs = generate_default_cfgs(
    {
        f"mlcsc.{tag}": model_cfg(
            tag, first_conv="grids.0.0.layers.0.D", pool_size=final_size(tag, 16, rounds_up=False), paper=ML_CSC_PAPER
        )
        for tag in OF_THE_CSC_PAPER
    }
)

register_names(__name__, ("mlcsc",), _create_mlcsc)
