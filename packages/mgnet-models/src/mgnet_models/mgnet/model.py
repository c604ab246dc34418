"""MgNet, Algorithm 2 of the paper, as the authors' released code builds it; its timm names are in `families/mgnet.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, cast

from timm.layers import ClassifierHead
from torch import Tensor, nn

from mgnet_models.mgnet.grid import Grid, chain_of_grids
from mgnet_models.mgnet.stem import Stem
from mgnet_models.mgnet.transfer import Transfer
from mgnet_models.nn.arguments import check_common, check_rates, check_sizes
from mgnet_models.nn.classifier import GridNetwork
from mgnet_models.nn.layers import TransferSigma, make_norm_act
from mgnet_models.notation import Notation, StemKind


class MgNet(GridNetwork):
    """A classifier that reads the feature u of A * u = f on the coarsest of J grids.

    `forward` runs the residual form: it carries (u, r) with r = f - A * u and never evaluates A on u. The feature form of
    Algorithm 2 is `forward_feature_form`; both compute the same function (Theorem 4.1).

    `transfer_sigma` is what follows Pi and R: "norm_act" (BatchNorm and ReLU, the released code), "norm" (BatchNorm alone) or
    "none" (linear, as the text prints them); `transfer_kernel` is 3 (the released code) or 1 (the text).

    Image (b, in_chans, h, w), floating point, to logits (b, num_classes). Raises ValueError for malformed notation and
    for an unknown stem, sigma, norm or activation.
    """

    set_recompute: ClassVar[Callable[..., None]]  # given by mgnet_models.runtime

    def __init__(
        self,
        notation: str | Notation,
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
        check_common(in_chans=in_chans, num_classes=num_classes, global_pool=global_pool)
        check_rates(drop_rate=drop_rate, drop_path_rate=drop_path_rate)
        check_sizes(transfer_kernel=transfer_kernel)
        notation = Notation.of(notation)
        dd = {"device": device, "dtype": dtype}
        norm_act = make_norm_act(norm_layer, act_layer, dd)
        super().__init__(
            stem=Stem(in_chans, notation.c_u[0], notation.c_f[0], stem, norm_act, dd),
            grids=chain_of_grids(
                Grid,
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
        self.stem_kind = stem
        self.transfer_kernel = transfer_kernel
        self.transfer_sigma = transfer_sigma
        self.recompute = "none"  # the mode that set_recompute chose
        self.init_weights()

    def features_by_feature_form(self, x: Tensor) -> Tensor:
        """u^J (b, num_features, h', w') as Algorithm 2 writes it: f is kept, and A * u evaluated wherever it appears."""
        u, f = self.stem(x)
        u = u.contiguous()  # A is evaluated on it: all of the zero is needed
        fine: Grid | None = None
        for grid in cast(Iterable[Grid], self.grids):
            if fine is not None:
                u, f = cast(Transfer, grid.transfer).feature_form(u, f, fine.A, grid.A)
            u = grid.feature_iteration(u, f)
            fine = grid
        return u

    def forward_feature_form(self, x: Tensor) -> Tensor:
        """Logits by the feature form, for verification and as the baseline of speed measurements."""
        return self.forward_head(self.features_by_feature_form(x))
