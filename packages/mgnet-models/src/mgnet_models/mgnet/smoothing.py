"""What the iterations of one grid share: smoothers, norms, and the correction sigma B * sigma(r) of (3.1), (3.5) and (4.10)."""

from __future__ import annotations

from collections.abc import Sequence

from timm.layers import DropPath
from torch import Tensor, nn

from mgnet_models.mgnet.transfer import Transfer


class SmoothingGrid(nn.Module):
    """The operators of one grid, each registered once so that each tensor has one state-dict key.

    `B` holds one smoother for each iteration, or a single one where they share it; `sigma_r` and `sigma_u` hold one
    module for each iteration, never shared. Subclasses say how the corrections enter the iteration.
    """

    def __init__(
        self,
        A: nn.Module,
        B: Sequence[nn.Module],
        sigma_r: Sequence[nn.Module],
        sigma_u: Sequence[nn.Module],
        *,
        share_B: bool,
        transfer: Transfer | None,
        drop_path_rates: Sequence[float],
    ) -> None:
        super().__init__()
        self.nu = len(sigma_r)
        self.share_B = share_B
        self.grad_checkpointing = False
        self.transfer = transfer
        self.A = A
        self.B = nn.ModuleList(B)
        self.sigma_r = nn.ModuleList(sigma_r)
        self.sigma_u = nn.ModuleList(sigma_u)
        self.drop_path = nn.ModuleList(DropPath(rate) if rate > 0 else nn.Identity() for rate in drop_path_rates)

    def correction(self, i: int, r: Tensor) -> Tensor:
        """What iteration i adds to u when the residual is r: s = sigma B^{l,i} * sigma(r).

        With a drop-path rate, training drops whole corrections of random images.
        """
        s = r
        for step, (sigma_r, sigma_u, drop_path) in enumerate(zip(self.sigma_r, self.sigma_u, self.drop_path)):
            if step == i:  # TorchScript runs through a ModuleList but cannot index it by a variable
                s = drop_path(sigma_u(self.smooth(i, sigma_r(r))))
        return s

    def smooth(self, i: int, r: Tensor) -> Tensor:
        """B^{l,i} * r, or B^l * r where all iterations share it: (b, c_f, h, w) -> (b, c_u, h, w)."""
        return self.apply_B(i, r)

    def apply_B(self, i: int, r: Tensor) -> Tensor:
        """The smoother at position i of the list, or the shared one."""
        s = r
        for step, B in enumerate(self.B):
            if self.share_B or step == i:
                s = B(r)
        return s
