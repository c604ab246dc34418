"""One grid of MgNet: the system A * u = f, the correction sigma B * sigma(r), and the two forms of the iteration.

Shapes: u and s (b, c_u, h, w); f and r (b, c_f, h, w). A maps u to f, B maps r to u.
sigma_r and sigma_u are BatchNorm and ReLU, one pair for each iteration, named by the tensor they act on or make.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice, pairwise

from timm.layers import DropPath, calculate_drop_path_rates
from torch import Tensor, nn

from mgnet_models.mgnet.transfer import Transfer
from mgnet_models.nn.layers import (
    DeviceDtype,
    MapForm,
    NormAct,
    TransferSigma,
    conv,
    sigma_after,
    sigma_before,
    transfer_sigma_factory,
)
from mgnet_models.notation import Notation


class SmoothingGrid(nn.Module):
    """What the grids of MgNet and of GDFI are made of: A, the smoothers B, and a sigma of each iteration on each side of B.

    `B` holds nu smoothers (B^{l,i}) or one that all iterations share (B^l). Each tensor has one name. The smoother of MgNet
    is sigma B * sigma, the form "both" of (4.15); the other forms make the schemes of Table 1. `transfer` leads here from
    the finer grid, None on the finest. Nothing reads the final residual of the `last` grid.
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
        transfer: Transfer | None,
        last: bool,
        drop_path_rates: Iterable[float],
        form_B: MapForm = "both",
    ) -> None:
        super().__init__()
        self.nu = nu
        self.share_B = share_B
        self.last = last
        self.transfer = transfer
        self.A = conv(c_u, c_f, kernel=3, dd=dd)
        self.B = nn.ModuleList(conv(c_f, c_u, kernel=3, dd=dd) for _ in range(1 if share_B else nu))
        self.sigma_r = nn.ModuleList(sigma_before(form_B, c_f, norm_act) for _ in range(nu))
        self.sigma_u = nn.ModuleList(sigma_after(form_B, c_u, norm_act) for _ in range(nu))
        self.drop_path = nn.ModuleList(DropPath(rate) if rate > 0 else nn.Identity() for rate in drop_path_rates)
        self.feature = nn.Identity()  # the last operation on u, where feature extraction by graph finds this grid

    def correction(self, i: int, r: Tensor) -> Tensor:
        """What iteration i adds to u when the residual is r; drop-path leaves it out for random images."""
        B = self.B[0 if self.share_B else i]
        return self.drop_path[i](self.sigma_u[i](B(self.sigma_r[i](r))))  # s = sigma B * sigma(r)

    def freeze_unread(self) -> None:
        """Freeze what changes no output where this grid is the last: DistributedDataParallel waits for every gradient."""
        if self.last and self.nu == 1:
            self.A.requires_grad_(False)


class Grid(SmoothingGrid):
    """nu smoothing iterations for the linear system A * u = f, in two forms of one function."""

    def forward(self, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """(u, r) of the finer grid, or (0, f) from the stem, to (u, r) after all iterations in the residual form."""
        u, r = state
        if self.transfer is not None:
            u, r = self.transfer(u, r)
        u, r = self.residual_iteration(u, r)
        return self.feature(u), r

    def feature_iteration(self, u: Tensor, f: Tensor) -> Tensor:
        """The feature form: keep f and evaluate A on u."""
        for i in range(self.nu):
            u = u + self.correction(i, f - self.A(u))  # (3.5)
        return u

    def residual_iteration(self, u: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
        """The residual form: carry r = f - A * u and evaluate A on s, since A * (u + s) = A * u + A * s."""
        for i in range(self.nu):
            s, r = self.residual_step(i, r)
            u = u + s
        return u, r

    def residual_step(self, i: int, r: Tensor) -> tuple[Tensor, Tensor]:
        """The correction s of iteration i and the residual after it; u takes no part."""
        s = self.correction(i, r)
        return s, r if self.last and i == self.nu - 1 else self.next_residual(r, s)

    def next_residual(self, r: Tensor, s: Tensor) -> Tensor:
        """The residual of u + s, given that of u."""
        return r - self.A(s)  # (4.5)


def chain_of_grids(
    make_grid: Callable[..., nn.Module],
    notation: Notation,
    norm_act: NormAct,
    dd: DeviceDtype,
    *,
    drop_path_rate: float,
    transfer_kernel: int,
    transfer_sigma: TransferSigma,
) -> list[nn.Module]:
    """The grids that the notation asks for, from fine to coarse, each but the first with its transfer."""
    c_u, c_f = notation.c_u, notation.c_f
    rates = iter(calculate_drop_path_rates(drop_path_rate, sum(notation.nu)))
    make_sigma = transfer_sigma_factory(transfer_sigma, norm_act)
    transfers = [Transfer(u, f, make_sigma, dd, kernel=transfer_kernel) for u, f in zip(pairwise(c_u), pairwise(c_f))]
    return [
        make_grid(
            nu,
            c_u[index],
            c_f[index],
            notation.share_B,
            norm_act,
            dd,
            transfer=transfers[index - 1] if index > 0 else None,
            last=index == len(notation.nu) - 1,
            drop_path_rates=islice(rates, nu),
        )
        for index, nu in enumerate(notation.nu)
    ]
