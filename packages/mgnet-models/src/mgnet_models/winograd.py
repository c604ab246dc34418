"""A 3x3 convolution in four times fewer multiplications: F(4x4, 3x3) of minimal filtering (Lavin and Gray, CVPR 2016).

A tile of 4x4 outputs reads 6x6 inputs d. With fixed matrices P, Q, S and the kernel g,

    y = S [(Q g Q^T) . (P d P^T)] S^T,

where the product in the middle is entry by entry, 36 products for each pair of channels instead of 144, summed over the
input channels: 36 matrix products. The transforms before and after cost the same for any number of channels, so the gain
grows with it. P and S hold integers and Q fractions of 24: with suitable integers all of it is exact. Other numbers are
rounded a few times more than by the direct convolution.

Shapes: x (b, c_in, h, w) and y (b, c_out, h, w); transformed kernels (36, c_in, c_out).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.jit import is_tracing  # type: ignore[attr-defined]

_P = (
    (4.0, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
_Q_TIMES_24 = ((6.0, 0, 0), (-4, -4, -4), (-4, 4, -4), (1, 2, 4), (1, -2, 4), (0, 0, 24))
_S = ((1.0, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1))

# Numbers in a chunk of images for each thread. Fewer stay in the cache and save a tenth of the time; but each chunk has the
# threads wait for each other some ten times, which is long where other processes share their cores.
_CHUNK = 2**17
# Below these the transforms cost more than the products save (python -m benchmarks.convolution).
_LEAST_CHANNELS, _LEAST_TILES = 128, 64


def is_short(weight: Tensor, stride: Any, padding: Any, dilation: Any, groups: int) -> bool:
    """Whether a convolution has the geometry of the short way: 3x3, stride 1, zero padding 1, no dilation, no groups.

    Stride, padding and dilation are numbers or pairs, as torch takes them.
    """
    same = [values if isinstance(values, int) else tuple(values) for values in (stride, padding, dilation)]
    return weight.shape[2:] == (3, 3) and groups == 1 and all(values in (1, (1,), (1, 1)) for values in same)


def is_wide(weight: Tensor) -> bool:
    """Whether a kernel has channels enough for the short way to pay."""
    return min(weight.shape[:2]) >= _LEAST_CHANNELS


def pays(x: Tensor, weight: Tensor) -> bool:
    """Whether the short way of a 3x3 convolution exists and is the faster one: on a CPU, wide, and large enough.

    Not while torch compiles, exports or traces: what comes of that runs elsewhere, with other sizes.
    """
    return (
        type(x) is Tensor  # no proxy of a tracer, no tensor without numbers
        and not torch.compiler.is_compiling()
        and not is_tracing()
        and x.dtype == weight.dtype
        and x.dtype in (torch.float32, torch.float64)
        and x.device.type == weight.device.type == "cpu"
        and not torch.is_autocast_enabled("cpu")
        and x.dim() == 4
        and x.shape[1] == weight.shape[1]
        and is_wide(weight)
        and x.shape[0] * _tiles(*x.shape[2:]) >= _LEAST_TILES
    )


def transform_kernels(weight: Tensor) -> Tensor:
    """Q g Q^T of all kernels: (c_out, c_in, 3, 3) to (36, c_in, c_out), computed in float64 and rounded once."""
    c_out, c_in = weight.shape[:2]
    g = weight.detach().permute(2, 3, 1, 0).reshape(9, -1).double()
    q = torch.tensor(_Q_TIMES_24, dtype=torch.float64, device=weight.device)
    return (torch.kron(q, q) @ g).div_(24**2).to(weight.dtype).view(36, c_in, c_out)


def convolve(x: Tensor, kernels: Tensor, *, bias: Tensor | None = None, addend: Tensor | None = None) -> Tensor:
    """The convolution with zero padding 1, plus bias (c_out,) and addend (b, c_out, h, w), channels_last; no gradients.

    Raises RuntimeError where shapes or dtypes do not fit.
    """
    images, _, h, w = x.shape
    c_in, c_out = kernels.shape[1:]
    y = x.new_empty((images, h, w, c_out))
    source, target = None, None
    for part in _chunks(images, h, w, max(c_in, c_out)):
        mine = x[part].movedim(1, 3)
        if source is None or target is None or source.images != len(mine):
            source, target = _Source(mine), _Target(mine, c_out)
        torch.bmm(source.transformed(mine), kernels, out=target.products)
        target.write(y[part], bias, None if addend is None else addend[part].movedim(1, 3))
    return y.movedim(3, 1)


def kernel_gradient(x: Tensor, g: Tensor) -> Tensor:
    """The derivative by the kernels (c_out, c_in, 3, 3) of the convolution of x, whose result has the derivative g.

    It is the transpose of the short convolution in its kernels: Q^T [(S^T g S) . (P x P^T)] Q, summed over all tiles.
    """
    images, c_in, h, w = x.shape
    c_out = g.shape[1]
    products = x.new_zeros(36, c_in, c_out)
    source, derivative = None, None
    for part in _chunks(images, h, w, max(c_in, c_out)):
        mine = x[part].movedim(1, 3)
        if source is None or derivative is None or source.images != len(mine):
            source, derivative = _Source(mine), _Derivative(mine, c_out)
        products.baddbmm_(source.transformed(mine).mT, derivative.transformed(g[part].movedim(1, 3)))
    q = x.new_tensor(_Q_TIMES_24) / 24
    return torch.einsum("ph,pqio,qw->oihw", q, products.view(6, 6, c_in, c_out), q)


def _tiles(h: int, w: int) -> int:
    return -(-h // 4) * -(-w // 4)


def _chunks(images: int, h: int, w: int, channels: int) -> Iterator[slice]:
    at_once = max(1, _CHUNK * torch.get_num_threads() // (_tiles(h, w) * channels))
    return (slice(first, min(images, first + at_once)) for first in range(0, images, at_once))


class _Source:
    """P d P^T of some images (b, h, w, c_in) at a time, in memory that is used again."""

    def __init__(self, x: Tensor) -> None:
        self.images, self.h, self.w, c_in = x.shape
        rows, columns = -(-self.h // 4), -(-self.w // 4)
        tiles = self.images * rows * columns
        self.p = x.new_tensor(_P)
        self.padded = x.new_zeros(self.images, 4 * rows + 2, 4 * columns + 2, c_in)
        b, i, j, _ = self.padded.stride()
        self.overlapping = self.padded.as_strided((6, 6, self.images, rows, columns, c_in), (i, j, b, 4 * i, 4 * j, 1))
        self.d = x.new_empty(self.overlapping.shape)
        self.pd = x.new_empty(6, 6, tiles * c_in)
        self.pdp = x.new_empty(36, tiles, c_in)

    def transformed(self, x: Tensor) -> Tensor:
        """(36, tiles, c_in)"""
        self.padded[:, 1 : self.h + 1, 1 : self.w + 1].copy_(x)
        self.d.copy_(self.overlapping)
        torch.mm(self.p, self.d.view(6, -1), out=self.pd.view(6, -1))
        torch.bmm(self.p.expand(6, 6, 6), self.pd, out=self.pdp.view(self.pd.shape))
        return self.pdp


class _Target:
    """S m S^T of products m (36, tiles, c_out), put together to images (b, h, w, c_out)."""

    def __init__(self, x: Tensor, c_out: int) -> None:
        images, self.h, self.w, _ = x.shape
        rows, columns = -(-self.h // 4), -(-self.w // 4)
        tiles = images * rows * columns
        self.s = x.new_tensor(_S)
        self.products = x.new_empty(36, tiles, c_out)
        self.sm = x.new_empty(4, 6, tiles * c_out)
        self.sms = x.new_empty(4, 4, tiles * c_out)
        self.whole = x.new_empty(images, 4 * rows, 4 * columns, c_out)
        self.tiled = self.whole.view(images, rows, 4, columns, 4, c_out)

    def write(self, y: Tensor, bias: Tensor | None, addend: Tensor | None) -> None:
        """Write the images, with what is added to them, into y."""
        torch.mm(self.s, self.products.view(6, -1), out=self.sm.view(4, -1))
        torch.bmm(self.s.expand(4, 4, 6), self.sm, out=self.sms)
        images, rows, _, columns, _, c_out = self.tiled.shape
        self.tiled.copy_(self.sms.view(4, 4, images, rows, columns, c_out).permute(2, 3, 0, 4, 1, 5))
        inside = self.whole[:, : self.h, : self.w]
        if addend is None:
            y.copy_(inside) if bias is None else torch.add(inside, bias, out=y)
        else:
            torch.add(inside, addend, out=y)
            if bias is not None:
                y.add_(bias)


class _Derivative:
    """S^T g S of derivatives g (b, h, w, c_out), the transpose of what _Target does."""

    def __init__(self, x: Tensor, c_out: int) -> None:
        images, self.h, self.w, _ = x.shape
        rows, columns = -(-self.h // 4), -(-self.w // 4)
        tiles = images * rows * columns
        self.st = x.new_tensor(_S).mT.contiguous()
        self.whole = x.new_zeros(images, 4 * rows, 4 * columns, c_out)
        self.tiled = self.whole.view(images, rows, 4, columns, 4, c_out).permute(2, 4, 0, 1, 3, 5)
        self.g = x.new_empty(self.tiled.shape)
        self.sg = x.new_empty(6, 4, tiles * c_out)
        self.sgs = x.new_empty(36, tiles, c_out)

    def transformed(self, g: Tensor) -> Tensor:
        """(36, tiles, c_out)"""
        self.whole[:, : self.h, : self.w].copy_(g)
        self.g.copy_(self.tiled)
        torch.mm(self.st, self.g.view(4, -1), out=self.sg.view(6, -1))
        torch.bmm(self.st.expand(6, 6, 4), self.sg, out=self.sgs.view(6, 6, -1))
        return self.sgs
