"""MgNet, Algorithm 2 of the paper, as the authors' released code builds it, and its names in timm's registry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from timm.layers import ClassifierHead
from timm.models import build_model_with_cfg, generate_default_cfgs
from torch import Tensor, nn

from mgnet_models.catalogue.datasets import DATA_SETS, model_cfg
from mgnet_models.catalogue.registry import register_names
from mgnet_models.catalogue.table_rows import paper_rows
from mgnet_models.mgnet.grid import Grid, chain_of_grids
from mgnet_models.mgnet.stem import Stem
from mgnet_models.nn.classifier import GridNetwork, feature_cfg
from mgnet_models.nn.layers import make_norm_act
from mgnet_models.notation import Notation, StemKind
from mgnet_models.runtime.recompute import MemoryMode, check_memory_mode, check_recomputable
from mgnet_models.weights.packaged import packaged_weights
from mgnet_models.weights.released_code import checkpoint_filter


class MgNet(GridNetwork):
    """A classifier that reads the feature u of A * u = f on the coarsest of J grids.

    `forward` runs the residual form: it carries (u, r) with r = f - A * u and never evaluates A on u. The literal form
    of Algorithm 2 is `forward_literal`; both compute the same function (Theorem 4.1).

    Image (b, in_chans, h, w), floating point, to logits (b, num_classes). Raises ValueError for malformed notation and
    for an unknown stem, norm or activation.
    """

    def __init__(
        self,
        notation: str | Notation,
        in_chans: int = 3,
        num_classes: int = 1000,
        global_pool: str = "avg",
        stem: StemKind = "cifar",
        transfer_kernel: int = 3,
        transfer_linear: bool = False,
        norm_layer: str | Callable[..., nn.Module] = "batchnorm2d",
        act_layer: str | Callable[..., nn.Module] = "relu",
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if not isinstance(notation, Notation):
            notation = Notation.parse(notation)
        dd = {"device": device, "dtype": dtype}
        norm_act = make_norm_act(norm_layer, act_layer, dd)
        c_u = notation.c_u
        super().__init__(
            stem=Stem(in_chans, c_u[0], notation.c_f[0], stem, norm_act, dd),
            grids=chain_of_grids(
                Grid,
                notation,
                norm_act,
                dd,
                drop_path_rate=drop_path_rate,
                transfer_kernel=transfer_kernel,
                transfer_linear=transfer_linear,
            ),
            head=ClassifierHead(c_u[-1], num_classes, pool_type=global_pool, drop_rate=drop_rate, **dd),
            num_classes=num_classes,
            channels=c_u,
            finest=4 if stem == "imagenet" else 1,
        )
        self.notation = notation
        self.stem_kind = stem
        self.init_weights()

    @torch.jit.ignore
    def set_memory_mode(self, mode: MemoryMode) -> None:
        """What training keeps for the backward pass: "default", "lean", "leaner" or "deep" (see mgnet_models.runtime.recompute).

        Outputs, first derivatives and running statistics stay those of the default. In the other modes hooks on A, B and
        sigma do not run, and set_grad_checkpointing acts on nothing. Raises ValueError for an unknown mode and for a sigma
        other than BatchNorm and ReLU.
        """
        check_memory_mode(mode)
        for grid in cast(list[Grid], list(self.grids)):
            if mode != "default":
                check_recomputable(grid, mode)
            grid.memory_mode = mode

    @torch.jit.ignore
    def forward_features_literal(self, x: Tensor) -> Tensor:
        """u^J by Algorithm 2 to the letter: f is kept, and A * u evaluated wherever the paper writes it."""
        _, f = self.stem(x)
        u = f.new_zeros((f.shape[0], self.notation.c_u[0], *f.shape[2:]))  # u^{1,0} = 0
        fine: Grid | None = None
        for grid in cast(list[Grid], list(self.grids)):
            if grid.transfer is not None and fine is not None:
                u, f = grid.transfer.literal(u, f, fine.A, grid.A)
            u = grid.feature_iteration(u, f)
            fine = grid
        return u

    @torch.jit.ignore
    def forward_literal(self, x: Tensor) -> Tensor:
        """Logits by the literal form, for verification and as the baseline of speed measurements."""
        return self.forward_head(self.forward_features_literal(x))


def _create_mgnet(name: str, pretrained: bool = False, **kwargs: Any) -> MgNet:
    """Build the MgNet that a registered name stands for, or for the name `mgnet` the one that `notation=` gives."""
    if name == "mgnet":
        if "notation" not in kwargs:
            raise ValueError("mgnet needs its configuration: timm.create_model('mgnet', notation='MgNet[2,2,2,2]-[256]-B^l')")
        notation = kwargs.pop("notation")
        kwargs["notation"] = notation if isinstance(notation, Notation) else Notation.parse(notation)
    else:
        kwargs["notation"], kwargs["stem"] = Notation.from_timm_name(name)
    return build_model_with_cfg(
        MgNet,
        name,
        pretrained,
        pretrained_filter_fn=checkpoint_filter,
        feature_cfg=feature_cfg(len(kwargs["notation"].nu), kwargs),
        **kwargs,
    )


# Configurations of this project's own, beside those that the paper's tables name: small ones, trained on digits.
OWN_NAMES = ("mgnet_2_2_c32_bl", "mgnet_3_2_c24x16_bli")

MGNET_NAMES = tuple(sorted({row.model for row in paper_rows() if row.model.startswith("mgnet_")} | set(OWN_NAMES)))


def _tags(name: str) -> tuple[str, ...]:
    """The data sets for which a name has a configuration; the first is the default."""
    if name in OWN_NAMES:
        return ("digits", "mnist")
    return ("in1k",) if name.endswith("_224") else ("cifar100", "cifar10", "mnist")


def _cfg(name: str, tag: str) -> dict[str, Any]:
    halvings = 0 if name == "mgnet" else len(Notation.from_timm_name(name)[0].nu) - 1
    finest = DATA_SETS[tag].input_size[1] // (4 if tag == "in1k" else 1)
    pool = -(-finest // 2**halvings)
    cfg = model_cfg(tag, first_conv="stem.theta", pool_size=(pool, pool))
    weights = packaged_weights(f"{name}.{tag}")
    return cfg if weights is None else cfg | {"file": str(weights)}


default_cfgs = generate_default_cfgs(
    {f"{name}.{tag}": _cfg(name, tag) for name in MGNET_NAMES for tag in _tags(name)}
    | {"mgnet.cifar100": _cfg("mgnet", "cifar100")}
)

register_names(__name__, ("mgnet", *MGNET_NAMES), _create_mgnet)
