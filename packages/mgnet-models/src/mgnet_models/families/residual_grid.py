"""One grid of ResNet and pre-act ResNet: basic blocks on r, and the pooling block that starts a coarse grid.

Shapes: r (b, c, h, w) -> (b, c, h, w); with a pooling block (b, c_fine, h, w) -> (b, c, ceil(h/2), ceil(w/2)).
Position i counts the blocks of the grid; on a coarse grid position 0 is the pooling block, the paper's i = 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch.nn.functional as F
from timm.layers import DropPath
from torch import Tensor, nn
from torch.jit import is_scripting  # type: ignore[attr-defined]

from mgnet_models.mgnet.smoothing import SmoothingGrid
from mgnet_models.nn.layers import DeviceDtype, NormAct, conv
from mgnet_models.runtime.checkpointing import recompute

PoolingB = Literal["lift_s1", "lift", "proj1x1", "text"]

# Of the convolution c_fine -> c that a pooling block has of its own where B is shared: kernel, stride, and the stride of
# the shared B^l after it (None: the reading does not use B^l there).
_READINGS: dict[PoolingB, tuple[int, int, int | None]] = {
    "lift_s1": (1, 1, 2),
    "lift": (1, 2, 1),
    "proj1x1": (1, 2, None),
    "text": (3, 2, None),
}


class ResidualGrid(SmoothingGrid):
    """`blocks` corrections of the residual by A sigma B, with A and B own to each block or shared on the grid.

    Pre-act: r + A * sigma B * sigma(r), the correction of MgNet with the other sign. Else sigma(r + A * sigma B * r),
    with a normalisation after A. A shared A includes A^{l,0} of the pooling block. `c_fine` is None on the finest grid,
    which has no pooling block; elsewhere the shortcut is R, 1x1 with stride 2. `B` holds B^{l,i} at position i, or B^l.
    """

    def __init__(
        self,
        blocks: int,
        c_fine: int | None,
        c: int,
        norm_act: NormAct,
        norm: NormAct,
        act: Callable[[], nn.Module],
        dd: DeviceDtype,
        *,
        share_A: bool,
        share_B: bool,
        preact: bool,
        pooling_B: PoolingB,
        drop_path_rates: Sequence[float],
    ) -> None:
        c_start = c if c_fine is None else c_fine
        pooling = c_fine is not None
        kernel, stride, stride_B = _READINGS[pooling_B]
        if share_B:
            needed = blocks > 1 or not pooling or stride_B is not None
            B = [conv(c, c, kernel=3, dd=dd) for _ in range(int(needed))]
        else:
            start = conv(c_start, c, kernel=3, stride=2 if pooling else 1, dd=dd)
            B = [start, *(conv(c, c, kernel=3, dd=dd) for _ in range(blocks - 1))]
        super().__init__(
            nn.ModuleList(conv(c, c, kernel=3, dd=dd) for _ in range(1 if share_A else blocks)),
            B,
            [norm_act(c_in) if preact else nn.Identity() for c_in in (c_start, *[c] * (blocks - 1))],
            [norm_act(c) for _ in range(blocks)],
            share_B=share_B,
            transfer=None,
            drop_path_rates=[0.0] * blocks,  # the whole branch is dropped instead, after the normalisation of A
        )
        self.share_A = share_A
        self.pooling = pooling
        self.stride_B = stride_B or 0
        self.B_pool = conv(c_start, c, kernel=kernel, stride=stride, dd=dd) if pooling and share_B else nn.Identity()
        self.R = conv(c_start, c, kernel=1, stride=2, dd=dd) if pooling else nn.Identity()
        self.norm_R = norm(c) if pooling and not preact else nn.Identity()
        self.norm_A = nn.ModuleList(nn.Identity() if preact else norm(c) for _ in range(blocks))
        self.drop_branch = nn.ModuleList(DropPath(rate) if rate > 0 else nn.Identity() for rate in drop_path_rates)
        self.act = nn.Identity() if preact else act()

    def smooth(self, i: int, r: Tensor) -> Tensor:
        """B^{l,i} * r; where B is shared, the pooling block has a convolution of its own, in two readings before B^l."""
        if not (self.share_B and self.pooling and i == 0):
            return self.apply_B(i, r)
        s = self.B_pool(r)
        if self.stride_B > 0:
            # B^l o L^l, with the stride that B^l does not have elsewhere.
            s = F.conv2d(s, self.B[0].weight, stride=self.stride_B, padding=1)  # type: ignore[arg-type]
        return s

    def block(self, i: int, r: Tensor) -> Tensor:
        """The block at position i: (3.1), (3.2) if pre-act, else (3.3), (3.4); with sharing (4.6), (4.7), (5.4), (5.5)."""
        s = self.correction(i, r)
        branch = s
        for step, A in enumerate(self.A):  # type: ignore
            if self.share_A or step == i:
                branch = A(s)
        for step, (norm_A, drop) in enumerate(zip(self.norm_A, self.drop_branch)):
            if step == i:
                branch = drop(norm_A(branch))
        if self.pooling and i == 0:
            return self.act(self.norm_R(self.R(r)) + branch)
        return self.act(r + branch)

    def forward(self, r: Tensor) -> Tensor:
        """All blocks of the grid."""
        for i in range(self.nu):
            if self.grad_checkpointing and not is_scripting():
                r = recompute(self, self.block, i, r)
            else:
                r = self.block(i, r)
        return r
