"""GDFI, the general data-feature iteration of Algorithm 3, in the 16 schemes of Table 1, and their timm names."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, get_args

from timm.layers import ClassifierHead
from timm.models import build_model_with_cfg, generate_default_cfgs
from torch import nn

from mgnet_models.catalogue.datasets import SMALL_IMAGES, final_size, model_cfg
from mgnet_models.catalogue.registry import register_names
from mgnet_models.families.nonlinear_grid import NonlinearGrid
from mgnet_models.mgnet.grid import Grid, chain_of_grids
from mgnet_models.mgnet.stem import Stem
from mgnet_models.nn.classifier import GridNetwork, feature_cfg
from mgnet_models.nn.layers import MapForm, make_norm_act
from mgnet_models.notation import Notation, StemKind

FORMS: tuple[MapForm, ...] = get_args(MapForm)

# The paper gives no size for Table 1. This one is the choice of this project: that of a ResNet18 without shared smoothers.
DEFAULT_SIZE = "MgNet[2,2,2,2]-[64,128,256,512]-B^{l,i}"


class GDFI(GridNetwork):
    """Solve A(u) = f by u + B(f - A(u)) on each grid, with A and B of the forms (4.15).

    `form_A` and `form_B` are "lin" (K *), "pre" (K * sigma), "post" (sigma K *) or "both" (sigma K * sigma), where sigma is
    BatchNorm and ReLU. `notation` gives iterations, channels and sharing of B as for MgNet; its default, the BatchNorms
    inside A and the sigma of the transfers (MgNet's) are choices of this project, since no source gives them. With linear A
    and form "both" of B this is MgNet. Linear schemes run in the residual form, which is the same function; for nonlinear
    A no such form exists and A is evaluated on u.

    Image (b, in_chans, h, w) to logits (b, num_classes). Raises ValueError for an unknown form, notation, stem, norm or
    activation.
    """

    def __init__(
        self,
        form_A: MapForm,
        form_B: MapForm,
        notation: str | Notation = DEFAULT_SIZE,
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
        for argument, form in (("form_A", form_A), ("form_B", form_B)):
            if form not in FORMS:
                raise ValueError(f"{argument}={form!r} is unknown: use one of {', '.join(FORMS)}")
        if not isinstance(notation, Notation):
            notation = Notation.parse(notation)
        dd = {"device": device, "dtype": dtype}
        norm_act = make_norm_act(norm_layer, act_layer, dd)
        linear = partial(Grid, form_B=form_B)
        grid = linear if form_A == "lin" else partial(NonlinearGrid, form_A=form_A, form_B=form_B)
        super().__init__(
            stem=Stem(in_chans, notation.c_u[0], notation.c_f[0], stem, norm_act, dd),
            grids=chain_of_grids(grid, notation, norm_act, dd, drop_path_rate=drop_path_rate),
            head=ClassifierHead(notation.c_u[-1], num_classes, pool_type=global_pool, drop_rate=drop_rate, **dd),
            num_classes=num_classes,
            channels=notation.c_u,
            finest=4 if stem == "imagenet" else 1,
        )
        self.notation = notation
        self.init_weights()


GDFI_NAMES = tuple(f"gdfi_{form_A}_{form_B}" for form_A in FORMS for form_B in FORMS)


def _create_gdfi(name: str, pretrained: bool = False, **kwargs: Any) -> GDFI:
    """Build the scheme that a registered name stands for, in the size that `notation=` gives."""
    _, form_A, form_B = name.split("_")
    size = kwargs.pop("notation", DEFAULT_SIZE)
    notation = size if isinstance(size, Notation) else Notation.parse(size)
    return build_model_with_cfg(
        GDFI,
        name,
        pretrained,
        feature_cfg=feature_cfg(len(notation.nu), kwargs),
        form_A=form_A,
        form_B=form_B,
        notation=notation,
        **kwargs,
    )


default_cfgs = generate_default_cfgs(
    {
        f"{name}.{tag}": model_cfg(tag, first_conv="stem.theta", pool_size=final_size(tag, 8))
        for name in GDFI_NAMES
        for tag in ("cifar10", *(tag for tag in SMALL_IMAGES if tag != "cifar10"))  # Table 1 is on CIFAR10
    }
)

register_names(__name__, GDFI_NAMES, _create_gdfi)
