"""A MgNet that this repository's packages did not write: another style, another layout, the feature form alone.

One flat module, functional ReLU, kernels in lists, f kept and A u cached between the iteration and the restriction. It
has a `mgnet_view`. `flaw` plants a mistake of the kind an independent author could make.
"""

import torch
import torch.nn.functional as F
from torch import nn

from mgnet_verify import GridView, NetworkView, TransferView


class FlatMgNet(nn.Module):
    def __init__(self, width: int = 4, depth: int = 3, sweeps: int = 2, classes: int = 5, flaw: str = "") -> None:
        super().__init__()
        self.depth, self.sweeps, self.flaw = depth, sweeps, flaw
        same = {"kernel_size": 3, "padding": 1, "bias": False}
        self.lift = nn.Conv2d(3, width, **same)
        self.lift_bn = nn.BatchNorm2d(width)
        self.systems = nn.ModuleList(nn.Conv2d(width, width, **same) for _ in range(depth))
        self.smoothers = nn.ModuleList(nn.Conv2d(width, width, **same) for _ in range(depth * sweeps))
        self.inner = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(depth * sweeps))
        self.outer = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(depth * sweeps))
        self.down = nn.ModuleList(nn.Conv2d(width, width, stride=2, **same) for _ in range(2 * (depth - 1)))
        self.down_bn = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(2 * (depth - 1)))
        self.pool = nn.Identity()
        self.classify = nn.Linear(width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        f = F.relu(self.lift_bn(self.lift(x)))
        u = torch.zeros_like(f)
        for level in range(self.depth):
            A = self.systems[level]
            for sweep in range(level * self.sweeps, (level + 1) * self.sweeps):
                defect = F.relu(self.inner[sweep](f - A(u)))
                if not (self.flaw == "second sweep forgotten on the second grid" and sweep == self.sweeps + 1):
                    u = u + F.relu(self.outer[sweep](self.smoothers[sweep](defect)))
            if level + 1 < self.depth:
                coarse = F.relu(self.down_bn[2 * level](self.down[2 * level](u)))
                rest = F.relu(self.down_bn[2 * level + 1](self.down[2 * level + 1](f - A(u))))
                f, u = rest + self.systems[level + 1](coarse), coarse
        return self.classify(self.pool(u).mean(dim=(2, 3)))

    def mgnet_view(self) -> NetworkView:
        def sweeps(modules: nn.ModuleList, level: int) -> tuple[nn.Module, ...]:
            return tuple(modules[level * self.sweeps : (level + 1) * self.sweeps])

        def transfer(level: int) -> TransferView | None:
            if level == 0:
                return None
            Pi, R = self.down[2 * level - 2 : 2 * level]
            sigma_Pi, sigma_R = self.down_bn[2 * level - 2 : 2 * level]
            return TransferView(Pi=Pi, R=R, sigma_Pi=sigma_Pi, sigma_R=sigma_R)

        grids = tuple(
            GridView(
                A=self.systems[level],
                B=sweeps(self.smoothers, level),
                sigma_r=sweeps(self.inner, level),
                sigma_u=sweeps(self.outer, level),
                transfer=transfer(level),
            )
            for level in range(self.depth)
        )
        return NetworkView(
            theta=self.lift,
            sigma_f=self.lift_bn,
            imagenet=False,
            grids=grids,
            head=self.pool,
            classifier=self.classify,
            forms={"feature": self.forward},
        )


def flawed() -> FlatMgNet:
    return FlatMgNet(flaw="second sweep forgotten on the second grid")


NOT_A_NETWORK = 3
