"""F(4x4, 3x3) (see `mgnet_models.runtime.winograd`) in torch's own operations, for any dtype and any number of channels.

Shapes: x (b, c_in, h, w) and y (b, c_out, h, w); transformed kernels (36, c_in, c_out).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

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

# Numbers in a chunk of images for each thread, of which it works on ten times as many. Fewer leave threads waiting for each
# other, long where other processes share their cores; more do not stay in a cache of 32 MiB.
_CHUNK = 2**15


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
    chunk: _Chunk | None = None
    for part in _parts(images, h, w, max(c_in, c_out)):
        mine = x[part].movedim(1, 3)
        if chunk is None or chunk.images != len(mine):
            chunk = _Chunk(mine, c_in, c_out)
        chunk.transform_image(mine)
        chunk.multiply(kernels)
        chunk.write_result(y[part], bias, None if addend is None else addend[part].movedim(1, 3))
    return y.movedim(3, 1)


def kernel_gradient(x: Tensor, g: Tensor) -> Tensor:
    """The derivative by the kernels (c_out, c_in, 3, 3) of the convolution of x, whose result has the derivative g.

    It is the transpose of the short convolution in its kernels: Q^T [(S^T g S) . (P x P^T)] Q, summed over all tiles.
    """
    images, c_in, h, w = x.shape
    c_out = g.shape[1]
    products = x.new_zeros(36, c_in, c_out)
    chunk: _Chunk | None = None
    for part in _parts(images, h, w, max(c_in, c_out)):
        mine = x[part].movedim(1, 3)
        if chunk is None or chunk.images != len(mine):
            chunk = _Chunk(mine, c_in, c_out)
        products.baddbmm_(chunk.transform_image(mine).mT, chunk.transform_derivative(g[part].movedim(1, 3)))
    q = x.new_tensor(_Q_TIMES_24) / 24
    return torch.einsum("ph,pqio,qw->oihw", q, products.view(6, 6, c_in, c_out), q)


def _tiles(h: int, w: int) -> int:
    return -(-h // 4) * -(-w // 4)


def _parts(images: int, h: int, w: int, channels: int) -> Iterator[slice]:
    at_once = max(1, _CHUNK * torch.get_num_threads() // (_tiles(h, w) * channels))
    return (slice(first, min(images, first + at_once)) for first in range(0, images, at_once))


class _Chunk:
    """Some images at a time, (b, h, w, c) here, in little memory: each step writes where the step before last wrote."""

    def __init__(self, x: Tensor, c_in: int, c_out: int) -> None:
        self.images, self.h, self.w, _ = x.shape
        self.rows, self.columns = -(-self.h // 4), -(-self.w // 4)
        self.c_in, self.c_out = c_in, c_out
        self.p, self.s, self.st = x.new_tensor(_P), x.new_tensor(_S), x.new_tensor(_S).mT.contiguous()
        self.padded = x.new_zeros(self.images, 4 * self.rows + 2, 4 * self.columns + 2, c_in)
        b, i, j, _ = self.padded.stride()
        tiles = (6, 6, self.images, self.rows, self.columns, c_in)
        self.overlapping = self.padded.as_strided(tiles, (i, j, b, 4 * i, 4 * j, 1))
        self.tiles = self.images * self.rows * self.columns
        self.one, self.other = (x.new_empty(36 * self.tiles * max(c_in, c_out)) for _ in range(2))

    def transform_image(self, x: Tensor) -> Tensor:
        """P d P^T of all tiles, (36, tiles, c_in), into `one`."""
        self.padded[:, 1 : self.h + 1, 1 : self.w + 1].copy_(x)
        each = self.tiles * self.c_in
        _view(self.one, *self.overlapping.shape).copy_(self.overlapping)
        torch.mm(self.p, _view(self.one, 6, 6 * each), out=_view(self.other, 6, 6 * each))
        torch.bmm(self.p.expand(6, 6, 6), _view(self.other, 6, 6, each), out=_view(self.one, 6, 6, each))
        return _view(self.one, 36, self.tiles, self.c_in)

    def multiply(self, kernels: Tensor) -> None:
        """The 36 matrix products, (36, tiles, c_out), into `other`."""
        image = _view(self.one, 36, self.tiles, self.c_in)
        torch.bmm(image, kernels, out=_view(self.other, 36, self.tiles, self.c_out))

    def write_result(self, y: Tensor, bias: Tensor | None, addend: Tensor | None) -> None:
        """S m S^T of the products m, put together to images, with what is added to them, into y."""
        each = self.tiles * self.c_out
        torch.mm(self.s, _view(self.other, 6, 6 * each), out=_view(self.one, 4, 6 * each))
        torch.bmm(self.s.expand(4, 4, 6), _view(self.one, 4, 6, each), out=_view(self.other, 4, 4, each))
        whole = _view(self.one, self.images, 4 * self.rows, 4 * self.columns, self.c_out)
        tiled = whole.view(self.images, self.rows, 4, self.columns, 4, self.c_out)
        tiled.copy_(_view(self.other, 4, 4, self.images, self.rows, self.columns, self.c_out).permute(2, 3, 0, 4, 1, 5))
        inside = whole[:, : self.h, : self.w]
        if addend is None:
            y.copy_(inside) if bias is None else torch.add(inside, bias, out=y)
        else:
            torch.add(inside, addend, out=y)
            if bias is not None:
                y.add_(bias)

    def transform_derivative(self, g: Tensor) -> Tensor:
        """S^T g S of all tiles of g, (36, tiles, c_out), the transpose of `write_result`; leaves `one` as it is."""
        each = self.tiles * self.c_out
        whole = g.new_zeros(self.images, 4 * self.rows, 4 * self.columns, self.c_out)
        whole[:, : self.h, : self.w].copy_(g)
        tiled = whole.view(self.images, self.rows, 4, self.columns, 4, self.c_out).permute(2, 4, 0, 1, 3, 5)
        _view(self.other, *tiled.shape).copy_(tiled)
        half = torch.mm(self.st, _view(self.other, 4, 4 * each))
        torch.bmm(self.st.expand(6, 6, 4), half.view(6, 4, each), out=_view(self.other, 6, 6, each))
        return _view(self.other, 36, self.tiles, self.c_out)


def _view(memory: Tensor, *shape: int) -> Tensor:
    return memory[: math.prod(shape)].view(shape)
