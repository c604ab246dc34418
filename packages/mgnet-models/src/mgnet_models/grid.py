"""One grid of MgNet: the system A * u = f, the smoother B, and the two forms of the smoothing iteration.

Shapes: u and s (b, c_u, h, w); f and r (b, c_f, h, w). A maps u to f, B maps r to u.
sigma_r and sigma_u are BatchNorm and ReLU, one pair for each iteration, named by the tensor they act on or make.
"""

from __future__ import annotations

from collections.abc import Sequence

from timm.layers import DropPath
from torch import Tensor, nn
from torch.jit import is_scripting  # type: ignore[attr-defined]

from mgnet_models.checkpointing import recompute
from mgnet_models.layers import DeviceDtype, NormAct, conv
from mgnet_models.transfer import Transfer


class Grid(nn.Module):
    """nu smoothing iterations with one A and one B (B^l) or nu of them (B^{l,i}), after the transfer from the finer grid.

    A and B are registered here alone, so that each tensor has one state-dict key. On the `last` grid nothing reads the
    final residual, and its last A is not evaluated.
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
    ) -> None:
        super().__init__()
        self.nu = nu
        self.share_B = share_B
        self.last = last
        self.grad_checkpointing = False
        self.transfer = transfer
        self.A = conv(c_u, c_f, kernel=3, dd=dd)
        self.B = nn.ModuleList(conv(c_f, c_u, kernel=3, dd=dd) for _ in range(1 if share_B else nu))
        self.sigma_r = nn.ModuleList(norm_act(c_f) for _ in range(nu))
        self.sigma_u = nn.ModuleList(norm_act(c_u) for _ in range(nu))
        self.drop_path = nn.ModuleList(DropPath(rate) if rate > 0 else nn.Identity() for rate in drop_path_rates)
        self.feature = nn.Identity()  # the last operation on u, where feature extraction by graph finds this grid
        if last and nu == 1:
            # A of a last grid with one iteration can change no output; a parameter without gradient stalls DDP.
            self.A.requires_grad_(False)

    def correction(self, i: int, r: Tensor) -> Tensor:
        """What iteration i adds to u when the residual is r: s = sigma B^{l,i} * sigma(r).

        With a drop-path rate, training drops whole corrections of random images, in both forms alike.
        """
        s = r
        for step, (sigma_r, sigma_u, drop_path) in enumerate(zip(self.sigma_r, self.sigma_u, self.drop_path)):
            if step == i:  # TorchScript runs through a ModuleList but cannot index it by a variable
                s = drop_path(sigma_u(self.smooth(i, sigma_r(r))))
        return s

    def smooth(self, i: int, r: Tensor) -> Tensor:
        """B^{l,i} * r, or B^l * r where all iterations share it: (b, c_f, h, w) -> (b, c_u, h, w)."""
        s = r
        for step, B in enumerate(self.B):
            if self.share_B or step == i:
                s = B(r)
        return s

    def forward(self, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """The residual form: carry (u, r) with r = f - A * u, evaluating A once an iteration and never on u."""
        u, r = state
        if self.transfer is not None:
            u, r = self.transfer(u, r)
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
