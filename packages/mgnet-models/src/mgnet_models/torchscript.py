"""What TorchScript needs in place of a Grid: it cannot index a ModuleList by a variable, nor list a shared B twice.

torch.jit.script asks for this substitute through `__prepare_scriptable__`; the model itself is left alone. TorchScript
is deprecated in torch 2.15, and this file goes when timm drops it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from mgnet_models.grid import Grid


class ScriptedTransfer(nn.Module):
    """The transfer of a coarse grid, or none: hands (u, r) on."""

    def __init__(self, grid: Grid) -> None:
        super().__init__()
        transfer = grid.transfer
        self.interpolate = nn.Identity() if transfer is None else nn.Sequential(transfer.Pi, transfer.sigma_Pi)
        self.restrict = nn.Identity() if transfer is None else nn.Sequential(transfer.R, transfer.sigma_R)

    def forward(self, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """(u, r) on the fine grid to (u, r) on the coarse one."""
        return self.interpolate(state[0]), self.restrict(state[1])


class ScriptedGrid(nn.Module):
    """The residual form of a Grid with one entry of `corrections` for each iteration."""

    def __init__(self, grid: Grid) -> None:
        super().__init__()
        self.last_A = -1 if not grid.last else grid.nu - 1
        self.transfer = ScriptedTransfer(grid)
        self.A = grid.A
        smoothers = [grid.B[0 if grid.share_B else i] for i in range(grid.nu)]
        self.corrections = nn.ModuleList(
            nn.Sequential(*maps) for maps in zip(grid.sigma_r, smoothers, grid.sigma_u, grid.drop_path)
        )

    def forward(self, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """(u, r) at the end of the finer grid to (u, r) at the end of this one."""
        u, r = self.transfer(state)
        for i, correction in enumerate(self.corrections):
            s = correction(r)
            u = u + s
            if i != self.last_A:
                r = r - self.A(s)  # (4.5)
        return u, r
