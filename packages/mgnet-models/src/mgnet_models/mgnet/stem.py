"""The data-feature mapping f_in, which turns an image into the data f of the finest grid (section 3.1 of the paper).

Shapes: image (b, in_chans, h, w) -> f (b, c_f, h, w) for CIFAR, (b, c_f, ceil(ceil(h/2)/2), ...) for ImageNet.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mgnet_models.nn.layers import DeviceDtype, NormAct, conv
from mgnet_models.notation import StemKind


class DataMap(nn.Module):
    """f_in = sigma theta^0 * image for CIFAR; R_max sigma theta^0 *_2 image for ImageNet, with a 7x7 kernel."""

    def __init__(self, in_chans: int, c_f: int, kind: StemKind, sigma: NormAct, dd: DeviceDtype) -> None:
        super().__init__()
        if kind not in ("cifar", "imagenet"):
            raise ValueError(f"stem={kind!r} is unknown: use 'cifar' (3x3) or 'imagenet' (7x7 stride 2 and max-pool)")
        imagenet = kind == "imagenet"
        self.theta = conv(in_chans, c_f, kernel=7 if imagenet else 3, stride=2 if imagenet else 1, dd=dd)
        self.sigma = sigma(c_f)
        self.R_max = nn.MaxPool2d(3, stride=2, padding=1) if imagenet else nn.Identity()

    def data(self, image: Tensor) -> Tensor:
        """f = f_in(image), in the dtype and on the device of the convolution's output."""
        return self.R_max(self.sigma(self.theta(image)))


class DataStem(DataMap):
    """f_in alone, where the state of a network is one tensor."""

    def forward(self, image: Tensor) -> Tensor:
        """Map (b, in_chans, h, w) to f."""
        return self.data(image)


class Stem(DataMap):
    """f_in with the start of Algorithm 2, u^{1,0} = 0 and f^1; the zero is one number that stands for a full tensor."""

    def __init__(self, in_chans: int, c_u: int, c_f: int, kind: StemKind, norm_act: NormAct, dd: DeviceDtype) -> None:
        super().__init__(in_chans, c_f, kind, norm_act, dd)
        self.c_u = c_u

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Map (b, in_chans, h, w) to (0, f), which is (u, r) too, since r^{1,0} = f^1 - A * 0."""
        f = self.data(image)
        zero = torch.zeros((1, self.c_u, 1, 1), dtype=f.dtype, device=f.device)
        return zero.expand(f.shape[0], self.c_u, f.shape[2], f.shape[3]), f
