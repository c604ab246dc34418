"""Interpolation Pi and restriction R from a fine grid to the next coarser one, (3.6) and (3.7).

Shapes: u (b, c_u, h, w) -> (b, c_u', ceil(h/2), ceil(w/2)); f and r (b, c_f, h, w) -> (b, c_f', ceil(h/2), ceil(w/2)).
"""

from __future__ import annotations

from torch import Tensor, nn

from mgnet_models.nn.layers import DeviceDtype, NormAct, conv


class Transfer(nn.Module):
    """Pi and R of stride 2, each followed by what `make_sigma` makes for its number of channels.

    The authors' released code has 3x3 kernels, BatchNorm and ReLU, and so have the defaults of the families. The text
    (section 3.2.1) says 1x1, and neither (3.6), (3.7) nor (4.11), (4.12) prints a sigma: `kernel=1` and identities. 1x1 kernels
    fit none of the printed parameter counts; with 3x3 kernels the BatchNorms are too few weights to be told by them.
    """

    def __init__(
        self,
        c_u: tuple[int, int],
        c_f: tuple[int, int],
        make_sigma: NormAct,
        dd: DeviceDtype,
        *,
        kernel: int,
    ) -> None:
        super().__init__()
        self.Pi = conv(c_u[0], c_u[1], kernel=kernel, stride=2, dd=dd)
        self.R = conv(c_f[0], c_f[1], kernel=kernel, stride=2, dd=dd)
        self.sigma_Pi = make_sigma(c_u[1])
        self.sigma_R = make_sigma(c_f[1])

    def forward(self, u: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
        """Start the coarse grid in the residual form: (u^l, r^l) -> (u^{l+1,0}, r^{l+1,0}).

        With r^{l+1,0} = f^{l+1} - A^{l+1} u^{l+1,0}, (3.7) says that the restricted residual is the new residual, so
        neither the fine nor the coarse A is evaluated.
        """
        return self.interpolate(u), self.restrict(r)

    def interpolate(self, u: Tensor) -> Tensor:
        """u^{l+1,0} = sigma Pi *_2 u^l."""
        return self.sigma_Pi(self.Pi(u))  # (3.6)

    def restrict(self, r: Tensor) -> Tensor:
        """sigma R *_2 (f^l - A^l u^l), the part of (3.7) that lives on the fine grid."""
        return self.sigma_R(self.R(r))

    def feature_form(self, u: Tensor, f: Tensor, A_fine: nn.Module, A_coarse: nn.Module) -> tuple[Tensor, Tensor]:
        """(u^l, f^l) -> (u^{l+1,0}, f^{l+1}) as Algorithm 2 writes it, with both systems evaluated."""
        u_coarse = self.interpolate(u)
        return u_coarse, self.restrict(f - A_fine(u)) + A_coarse(u_coarse)  # (3.7)
