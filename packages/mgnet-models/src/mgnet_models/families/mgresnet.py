"""ResNet and pre-act ResNet of 18 and 34 layers, Algorithm 1, with A and B shared on each grid or not, and their timm names.

Shapes: r (b, c, h, w) -> (b, c, h, w); with a pooling block (b, c_fine, h, w) -> (b, c, ceil(h/2), ceil(w/2)).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any, Literal, cast, get_args

import torch.nn.functional as F
from timm.layers import ClassifierHead, DropPath, calculate_drop_path_rates
from timm.models import build_model_with_cfg, generate_default_cfgs
from torch import Tensor, nn

from mgnet_models.catalogue.datasets import SMALL_IMAGES, final_size, model_cfg
from mgnet_models.catalogue.registry import register_names
from mgnet_models.mgnet.stem import DataStem
from mgnet_models.nn.arguments import as_depths, as_sizes, check_common, check_flags, check_rates
from mgnet_models.nn.classifier import Network, feature_cfg
from mgnet_models.nn.layers import DeviceDtype, NormAct, conv, make_act, make_norm, make_norm_act
from mgnet_models.notation import StemKind

PoolingB = Literal["lift_s1", "lift", "proj1x1", "text"]

# Of the convolution c_fine -> c that a pooling block has of its own where B is shared: kernel, stride, and the stride of
# the shared B^l after it (None: the interpretation does not use B^l there).
_INTERPRETATIONS: dict[PoolingB, tuple[int, int, int | None]] = {
    "lift_s1": (1, 1, 2),
    "lift": (1, 2, 1),
    "proj1x1": (1, 2, None),
    "text": (3, 2, None),
}


class ResidualGrid(nn.Module):
    """`blocks` corrections of the residual by A sigma B, with A and B own to each block or shared on the grid.

    Pre-act: r + A * sigma B * sigma(r), the correction of MgNet with the other sign. Else sigma(r + A * sigma B * r),
    with a normalization after A. A shared A includes A^{l,0} of the pooling block, which starts a coarse grid at position
    0, the paper's i = 0; `c_fine` is None on the finest grid, which has none. The shortcut of the pooling block is R, 1x1
    with stride 2. `B` holds B^{l,i} at position i, or B^l.
    """

    def __init__(
        self,
        blocks: int,
        c_fine: int | None,
        c: int,
        norm_act: NormAct,
        norm: NormAct,
        act: Callable[[], nn.Module],
        dd: DeviceDtype,
        *,
        share_A: bool,
        share_B: bool,
        preact: bool,
        pooling_B: PoolingB,
        drop_path_rates: Iterable[float],
    ) -> None:
        super().__init__()
        c_start = c if c_fine is None else c_fine
        pooling = c_fine is not None
        kernel, stride, stride_B = _INTERPRETATIONS[pooling_B]
        if share_B:
            needed = blocks > 1 or not pooling or stride_B is not None
            B = [conv(c, c, kernel=3, dd=dd) for _ in range(needed)]
        else:
            start = conv(c_start, c, kernel=3, stride=2 if pooling else 1, dd=dd)
            B = [start, *(conv(c, c, kernel=3, dd=dd) for _ in range(blocks - 1))]
        self.nu = blocks
        self.share_A = share_A
        self.share_B = share_B
        self.pooling = pooling
        self.stride_B = stride_B or 0
        self.A = nn.ModuleList(conv(c, c, kernel=3, dd=dd) for _ in range(1 if share_A else blocks))
        self.B = nn.ModuleList(B)
        self.sigma_r = nn.ModuleList(norm_act(c_in) if preact else nn.Identity() for c_in in (c_start, *[c] * (blocks - 1)))
        self.sigma_u = nn.ModuleList(norm_act(c) for _ in range(blocks))
        self.B_pool = conv(c_start, c, kernel=kernel, stride=stride, dd=dd) if pooling and share_B else nn.Identity()
        self.R = conv(c_start, c, kernel=1, stride=2, dd=dd) if pooling else nn.Identity()
        self.norm_R = norm(c) if pooling and not preact else nn.Identity()
        self.norm_A = nn.ModuleList(nn.Identity() if preact else norm(c) for _ in range(blocks))
        self.drop_branch = nn.ModuleList(DropPath(rate) if rate > 0 else nn.Identity() for rate in drop_path_rates)
        self.act = nn.Identity() if preact else act()

    def smooth(self, i: int, r: Tensor) -> Tensor:
        """B^{l,i} * r; where B is shared, the pooling block has a convolution of its own, in two interpretations before B^l."""
        if not self.share_B:
            return self.B[i](r)
        if not (self.pooling and i == 0):
            return self.B[0](r)
        s = self.B_pool(r)
        if self.stride_B > 0:  # B^l o L^l, with the stride that B^l does not have elsewhere
            s = F.conv2d(s, cast(nn.Conv2d, self.B[0]).weight, stride=self.stride_B, padding=1)
        return s

    def block(self, i: int, r: Tensor) -> Tensor:
        """The block at position i: (3.1), (3.2) if pre-act, else (3.3), (3.4); with sharing (4.6), (4.7), (5.4), (5.5)."""
        A = self.A[0 if self.share_A else i]
        branch = A(self.sigma_u[i](self.smooth(i, self.sigma_r[i](r))))
        shortcut = self.norm_R(self.R(r)) if self.pooling and i == 0 else r
        return self.act(shortcut + self.drop_branch[i](self.norm_A[i](branch)))

    def forward(self, r: Tensor) -> Tensor:
        """All blocks of the grid."""
        for i in range(self.nu):
            r = self.block(i, r)
        return r


class MgResNet(Network):
    """The original and the modified (pre-act) ResNet with basic blocks: image (b, in_chans, h, w) to logits.

    `blocks` counts the blocks of each grid with its pooling block, `(2, 2, 2, 2)` for 18 layers; nu of Algorithm 1 is one
    less on every grid but the first. `channels` has one entry for each grid.

    Normalization: in ResNet after each convolution; in pre-act ResNet before both convolutions of each block and, with a
    ReLU, before the average pooling, but none in stem and shortcut. The printed counts agree with that, and cannot tell it
    from most others.

    The text keeps B^{l,0} of a pooling block as a 3x3 convolution of its own where B is shared; no printed count of a
    network with shared B agrees with that. `pooling_B` selects the interpretation of B^{l,0}, for `share_B` alone:
    "lift_s1" (default): a 1x1 convolution with stride 1, then the shared B^l with stride 2; "lift": 1x1 with stride 2,
    then B^l; "proj1x1": 1x1 with stride 2 alone; "text": 3x3 with stride 2 alone. The first three have one count, the
    one that the tables ask for; that the first is meant is an inference of this project.

    Raises ValueError for lists that do not fit, an unknown stem, norm, activation or interpretation, and for an
    interpretation without shared B.
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
        check_common(in_chans=in_chans, num_classes=num_classes, global_pool=global_pool)
        check_rates(drop_rate=drop_rate, drop_path_rate=drop_path_rate)
        blocks, channels = as_depths("blocks", blocks), as_sizes("channels", channels)
        check_flags(share_A=share_A, share_B=share_B, preact=preact)
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
                        drop_path_rates=islice(rates, count),
                    )
                    for count, c_fine, c in zip(blocks, (None, *channels), channels)
                )
            ),
            head=ClassifierHead(channels[-1], num_classes, pool_type=global_pool, drop_rate=drop_rate, **dd),
            in_chans=in_chans,
            num_classes=num_classes,
            channels=channels,
            finest=4 if stem == "imagenet" else 1,
            norm=norm_act(channels[-1]) if preact else None,
        )
        self.init_weights()


def _check(blocks: Sequence[int], channels: Sequence[int], share_B: bool, pooling_B: str) -> None:
    if len(blocks) != len(channels):
        raise ValueError(f"blocks={tuple(blocks)} and channels={tuple(channels)}: give one positive entry for each grid to both")
    if pooling_B not in get_args(PoolingB):
        raise ValueError(f"pooling_B={pooling_B!r} is unknown: use 'lift_s1', 'lift', 'proj1x1' or 'text'")
    if not share_B and pooling_B != "lift_s1":
        raise ValueError(f"pooling_B={pooling_B!r} is about a pooling block with shared B: take a name that ends in _bl")


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


def _create_mgresnet(name: str, pretrained: bool, **kwargs: Any) -> MgResNet:
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
    return build_model_with_cfg(MgResNet, name, pretrained, feature_cfg=feature_cfg(kwargs["blocks"], kwargs), **kwargs)


def _cfg(tag: str) -> dict[str, Any]:
    return model_cfg(tag, first_conv="stem.theta", pool_size=final_size(tag, 32 if tag == "in1k" else 8))


default_cfgs = generate_default_cfgs(
    {f"{name}.{tag}": _cfg(tag) for name in MGRESNET_NAMES for tag in (("in1k",) if name.endswith("_224") else SMALL_IMAGES)}
)

register_names(__name__, MGRESNET_NAMES, _create_mgresnet)
