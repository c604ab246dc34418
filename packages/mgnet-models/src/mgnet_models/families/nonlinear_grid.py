"""One grid of GDFI whose data-feature map is nonlinear, A sigma, sigma A or sigma A sigma: the iteration needs u and f itself.

Shapes as in grid.py. No residual recursion exists here, since A(u + s) - A(u) is not A(s).
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.jit import is_scripting  # type: ignore[attr-defined]

from mgnet_models.mgnet.smoothing import SmoothingGrid
from mgnet_models.mgnet.transfer import Transfer
from mgnet_models.nn.layers import DeviceDtype, MapForm, NormAct, conv, sigma_after, sigma_before
from mgnet_models.runtime.checkpointing import recompute


class NonlinearGrid(SmoothingGrid):
    """nu iterations (4.10) for a nonlinear A, after the transfer from the finer grid.

    A holds one kernel. Each evaluation of the map has a sigma of its own, as each iteration of MgNet has: BatchNorm's
    statistics of A(u^{l,0}) are not those of A(u^{l,nu}). The evaluation at u^{l,0} is the first of `sigma_A_before` and
    `sigma_A_after`; the last grid has no evaluation at u^{J,nu}, whose residual nothing reads.
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
        form_A: MapForm,
        form_B: MapForm,
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
        evaluations = nu if last else nu + 1
        self.sigma_A_before = nn.ModuleList(sigma_before(form_A, c_u, norm_act) for _ in range(evaluations))
        self.sigma_A_after = nn.ModuleList(sigma_after(form_A, c_f, norm_act) for _ in range(evaluations))
        self.feature = nn.Identity()  # the last operation on u, where feature extraction by graph finds this grid
        self.f_is_read = not (last and nu == 1 and transfer is not None)
        if not self.f_is_read:
            # The one residual comes from the finer grid; parameters without gradient stall DDP.
            for module in (self.A, self.sigma_A_before, self.sigma_A_after):
                module.requires_grad_(False)

    def system(self, i: int, u: Tensor) -> Tensor:
        """A^l(u^{l,i}), the data-feature map (4.8) at its i-th evaluation: (b, c_u, h, w) -> (b, c_f, h, w)."""
        f = u
        for step, (before, after) in enumerate(zip(self.sigma_A_before, self.sigma_A_after)):
            if step == i:
                f = after(self.A(before(u)))
        return f

    def forward(self, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """(u, r) of the finer grid, or (0, f^1), to (u^{l,nu}, r) with r = f - A(u) where it is read."""
        u, r = state
        f = r
        if self.transfer is not None:
            u, r = self.transfer(u, r)
            f = r
            if self.f_is_read:
                f = r + self.system(0, u)  # (4.12), so that r is the residual at u^{l,0}
        else:
            u = u.expand(r.shape[0], -1, r.shape[2], r.shape[3])
            r = f - self.system(0, u)
        for i in range(self.nu):
            if self.grad_checkpointing and not is_scripting():
                s = recompute(self, self.correction, i, r)
            else:
                s = self.correction(i, r)
            u = u + s  # (4.10)
            if not (self.last and i == self.nu - 1):
                r = f - self.system(i + 1, u)
        return self.feature(u), r
