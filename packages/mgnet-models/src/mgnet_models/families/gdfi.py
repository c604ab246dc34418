"""GDFI, the general data-feature iteration of Algorithm 3, in the 16 schemes of Table 1, and their timm names.

Shapes as in `mgnet/grid.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, get_args

from timm.layers import ClassifierHead
from timm.models import build_model_with_cfg, generate_default_cfgs
from torch import Tensor, nn

from mgnet_models.catalogue.datasets import SMALL_IMAGES, final_size, model_cfg
from mgnet_models.catalogue.registry import register_names
from mgnet_models.mgnet.grid import Grid, SmoothingGrid, chain_of_grids
from mgnet_models.mgnet.stem import Stem
from mgnet_models.nn.arguments import check_common, check_rates, check_sizes
from mgnet_models.nn.classifier import GridNetwork, feature_cfg
from mgnet_models.nn.layers import DeviceDtype, MapForm, NormAct, TransferSigma, make_norm_act, sigma_after, sigma_before
from mgnet_models.notation import Notation, StemKind

FORMS: tuple[MapForm, ...] = get_args(MapForm)

# The paper gives no size for Table 1. This one is the choice of this project: that of a ResNet18 without shared smoothers.
DEFAULT_SIZE = "MgNet[2,2,2,2]-[64,128,256,512]-B^{l,i}"


class NonlinearGrid(SmoothingGrid):
    """nu iterations (4.10) for a nonlinear A, A sigma, sigma A or sigma A sigma: they need u and f themselves.

    No residual form exists, since A(u + s) - A(u) is not A(s). `A` holds one kernel. Each evaluation of the map has a sigma
    of its own, as each iteration has: BatchNorm's statistics of A(u^{l,0}) are not those of A(u^{l,nu}). The evaluation at
    u^{l,0} is the first of `sigma_A_before` and `sigma_A_after`; the last grid has no evaluation at u^{J,nu}, whose residual
    nothing reads.
    """

    def __init__(
        self,
        nu: int,
        c_u: int,
        c_f: int,
        share_B: bool,
        norm_act: NormAct,
        dd: DeviceDtype,
        *,
        last: bool,
        form_A: MapForm,
        **smoothing: Any,
    ) -> None:
        """`smoothing` holds `transfer`, `drop_path_rates` and `form_B`."""
        super().__init__(nu, c_u, c_f, share_B, norm_act, dd, last=last, **smoothing)
        evaluations = nu if last else nu + 1
        self.sigma_A_before = nn.ModuleList(sigma_before(form_A, c_u, norm_act) for _ in range(evaluations))
        self.sigma_A_after = nn.ModuleList(sigma_after(form_A, c_f, norm_act) for _ in range(evaluations))

    @property
    def reads_f(self) -> bool:
        """False on a last grid with one iteration, whose only residual comes from the finer grid."""
        return not (self.last and self.nu == 1 and self.transfer is not None)

    def freeze_unread(self) -> None:
        """Freeze the evaluations of A that nothing reads, where this grid is the last."""
        if self.last:
            self.A.requires_grad_(self.reads_f)
            for sigmas in (self.sigma_A_before, self.sigma_A_after):
                sigmas[self.nu if self.reads_f else 0 :].requires_grad_(False)

    def system(self, i: int, u: Tensor) -> Tensor:
        """A^l(u^{l,i}), the data-feature map (4.8) at its i-th evaluation: (b, c_u, h, w) -> (b, c_f, h, w)."""
        return self.sigma_A_after[i](self.A(self.sigma_A_before[i](u)))

    def forward(self, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """(u, r) of the finer grid, or (0, f^1), to (u^{l,nu}, r) with r = f - A(u) where it is read."""
        u, r = state
        f = r
        if self.transfer is None:
            r = f - self.system(0, u)
        else:
            u, r = self.transfer(u, r)
            f = r + self.system(0, u) if self.reads_f else r  # (4.12), so that r is the residual at u^{l,0}
        for i in range(self.nu):
            u = u + self.correction(i, r)  # (4.10)
            if not (self.last and i == self.nu - 1):
                r = f - self.system(i + 1, u)
        return self.feature(u), r


class GDFI(GridNetwork):
    """Solve A(u) = f by u + B(f - A(u)) on each grid, with A and B of the forms (4.15).

    `form_A` and `form_B` are "lin" (K *), "pre" (K * sigma), "post" (sigma K *) or "both" (sigma K * sigma), where sigma is
    BatchNorm and ReLU. `notation` gives iterations, channels and sharing of B as for MgNet; its default and the BatchNorms
    inside A are choices of this project, since no source gives them. `transfer_sigma` is what follows Pi and R: "none" is
    (4.11) and (4.12) as printed, "norm" adds BatchNorm; the default "norm_act" adds BatchNorm and ReLU as the released MgNet has
    them, because with linear A and form "both" of B this is MgNet. Linear schemes run in the residual form, which is the same
    function; for nonlinear A no such form exists and A is evaluated on u.

    Image (b, in_chans, h, w) to logits (b, num_classes). Raises ValueError for an unknown form, sigma, notation, stem,
    norm or activation.
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
        transfer_kernel: int = 3,
        transfer_sigma: TransferSigma = "norm_act",
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
        check_common(in_chans=in_chans, num_classes=num_classes, global_pool=global_pool)
        check_rates(drop_rate=drop_rate, drop_path_rate=drop_path_rate)
        check_sizes(transfer_kernel=transfer_kernel)
        notation = Notation.of(notation)
        dd = {"device": device, "dtype": dtype}
        norm_act = make_norm_act(norm_layer, act_layer, dd)
        linear = partial(Grid, form_B=form_B)
        grid = linear if form_A == "lin" else partial(NonlinearGrid, form_A=form_A, form_B=form_B)
        super().__init__(
            stem=Stem(in_chans, notation.c_u[0], notation.c_f[0], stem, norm_act, dd),
            grids=chain_of_grids(
                grid,
                notation,
                norm_act,
                dd,
                drop_path_rate=drop_path_rate,
                transfer_kernel=transfer_kernel,
                transfer_sigma=transfer_sigma,
            ),
            head=ClassifierHead(notation.c_u[-1], num_classes, pool_type=global_pool, drop_rate=drop_rate, **dd),
            in_chans=in_chans,
            num_classes=num_classes,
            channels=notation.c_u,
            finest=4 if stem == "imagenet" else 1,
        )
        self.notation = notation
        self.init_weights()


GDFI_NAMES = tuple(f"gdfi_{form_A}_{form_B}" for form_A in FORMS for form_B in FORMS)


def _create_gdfi(name: str, pretrained: bool, **kwargs: Any) -> GDFI:
    """Build the scheme that a registered name stands for, in the size that `notation=` gives."""
    _, form_A, form_B = name.split("_")
    notation = Notation.of(kwargs.pop("notation", DEFAULT_SIZE))
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
