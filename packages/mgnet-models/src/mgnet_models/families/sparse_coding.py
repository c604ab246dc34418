"""A convolutional dictionary D, which maps sparse codes to signals, with its transpose: what the sparse-coding networks learn.

Shapes: signal x (b, c_signal, h, w), code z (b, c_code, h', w') with h' = h for stride 1. Zero padding, so that D and D^T
are exactly adjoint for every size, odd ones included.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mgnet_models.nn.layers import DeviceDtype


class Dictionary(nn.Module):
    """D = F^T, or D = [I F^T] with `identity`, for a bank F of filters with the given kernel, stride and dilation.

    `weight` is F as a convolution has it, (atoms, c_signal, kernel, kernel); the atoms of D are its filters. Started with
    normal weights of standard deviation `std`.
    """

    def __init__(
        self,
        c_signal: int,
        atoms: int,
        dd: DeviceDtype,
        *,
        std: float,
        kernel: int = 3,
        stride: int = 1,
        dilation: int = 1,
        identity: bool = False,
    ) -> None:
        super().__init__()
        if identity and stride != 1:
            raise ValueError(f"stride={stride} with an identity block: codes and signals must have one size, use stride=1")
        self.weight = nn.Parameter(torch.empty(atoms, c_signal, kernel, kernel, **dd))
        self.c_code = atoms + c_signal if identity else atoms
        self.atoms = atoms
        self.stride = stride
        self.dilation = dilation
        self.padding = dilation * (kernel - 1) // 2
        self.reach = dilation * (kernel - 1) + 1 - 2 * self.padding
        self.identity = identity
        self.std = std
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the filters anew."""
        nn.init.normal_(self.weight, std=self.std)

    def analysis(self, x: Tensor) -> Tensor:
        """D^T x = F x, or [x; F x]: how strongly each atom answers to the signal."""
        z = F.conv2d(x, self.weight, stride=self.stride, padding=self.padding, dilation=self.dilation)
        return torch.cat((x, z), dim=1) if self.identity else z

    def synthesis(self, z: Tensor, like: Tensor) -> Tensor:
        """D z = F^T g, or a + F^T g for z = [a; g]: the signal of the size of `like` that the code stands for."""
        g = z[:, -self.atoms :] if self.identity else z
        rest = (0, 0)
        if self.stride > 1:  # several sizes have codes of this size
            rest = ((like.shape[2] - self.reach) % self.stride, (like.shape[3] - self.reach) % self.stride)
        x = F.conv_transpose2d(
            g, self.weight, stride=self.stride, padding=self.padding, output_padding=rest, dilation=self.dilation
        )
        return z[:, : -self.atoms] + x if self.identity else x
