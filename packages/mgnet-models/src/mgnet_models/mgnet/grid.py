"""One grid of MgNet: the system A * u = f, the smoother B, and the two forms of the smoothing iteration.

Shapes: u and s (b, c_u, h, w); f and r (b, c_f, h, w). A maps u to f, B maps r to u.
sigma_r and sigma_u are BatchNorm and ReLU, one pair for each iteration, named by the tensor they act on or make.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice, pairwise

import torch
from timm.layers import calculate_drop_path_rates
from torch import Tensor, nn
from torch.jit import is_scripting  # type: ignore[attr-defined]

from mgnet_models.mgnet.smoothing import SmoothingGrid
from mgnet_models.mgnet.transfer import Transfer
from mgnet_models.nn.layers import DeviceDtype, MapForm, NormAct, conv, sigma_after, sigma_before
from mgnet_models.notation import Notation
from mgnet_models.runtime.checkpointing import recompute
from mgnet_models.runtime.recompute import MemoryMode, iterate


class Grid(SmoothingGrid):
    """nu smoothing iterations with one A and one B (B^l) or nu of them (B^{l,i}), after the transfer from the finer grid.

    The smoother of MgNet is sigma B * sigma, the form "both" of (4.15); the other forms make the linear schemes of
    Table 1. On the `last` grid nothing reads the final residual, and its last A is not evaluated.
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
        drop_path_rates: Sequence[float],
        form_B: MapForm = "both",
    ) -> None:
        super().__init__(
            conv(c_u, c_f, kernel=3, dd=dd),
            [conv(c_f, c_u, kernel=3, dd=dd) for _ in range(1 if share_B else nu)],
            [sigma_before(form_B, c_f, norm_act) for _ in range(nu)],
            [sigma_after(form_B, c_u, norm_act) for _ in range(nu)],
            share_B=share_B,
            transfer=transfer,
            drop_path_rates=drop_path_rates,
        )
        self.last = last
        self.memory_mode: MemoryMode = "default"
        self.feature = nn.Identity()  # the last operation on u, where feature extraction by graph finds this grid
        if last and nu == 1:
            # A of a last grid with one iteration can change no output; a parameter without gradient stalls DDP.
            self.A.requires_grad_(False)

    def forward(self, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """The residual form: carry (u, r) with r = f - A * u, evaluating A once an iteration and never on u."""
        u, r = state
        if self.transfer is not None:
            u, r = self.transfer(u, r)
        if self.memory_mode != "default" and not is_scripting() and torch.is_grad_enabled():
            u, r = iterate(self, u, r)
            return self.feature(u), r
        for i in range(self.nu):
            if self.grad_checkpointing and not is_scripting():
                s = recompute(self, self.correction, i, r)
            else:
                s = self.correction(i, r)
            u = u + s
            if not (self.last and i == self.nu - 1):
                r = r - self.A(s)  # (4.5)
        return self.feature(u), r

    def feature_iteration(self, u: Tensor, f: Tensor) -> Tensor:
        """The literal form, for verification: solve A * u = f for the feature u from the given start."""
        for i in range(self.nu):
            u = u + self.correction(i, f - self.A(u))  # (3.5)
        return u


def chain_of_grids(
    make_grid: Callable[..., nn.Module],
    notation: Notation,
    norm_act: NormAct,
    dd: DeviceDtype,
    *,
    drop_path_rate: float,
    transfer_kernel: int = 3,
    transfer_linear: bool = False,
) -> list[nn.Module]:
    """The grids that the notation asks for, from fine to coarse, each but the first with its transfer."""
    c_u, c_f = notation.c_u, notation.c_f
    rates = iter(calculate_drop_path_rates(drop_path_rate, sum(notation.nu)))
    transfers = [
        Transfer(u, f, norm_act, dd, kernel=transfer_kernel, linear=transfer_linear) for u, f in zip(pairwise(c_u), pairwise(c_f))
    ]
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
            drop_path_rates=list(islice(rates, nu)),
        )
        for index, nu in enumerate(notation.nu)
    ]
