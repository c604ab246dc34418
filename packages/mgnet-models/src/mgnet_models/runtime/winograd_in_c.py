"""F(4x4, 3x3) (see `mgnet_models.runtime.winograd`) by this package's C code, `winograd.c`: channels in multiples of 16.

Shapes: x (b, c_in, h, w) and y (b, c_out, h, w), float32 or bfloat16 together; all is computed in float32. Transformed kernels
are a float32 vector in the order that the C code reads.
"""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from mgnet_models.runtime.c_library import load_c

# Tiles that a thread takes at a time, and that all take together for the gradient of many kernels: what stands between the
# steps then stays in a cache of 1 MiB of each, or of some MiB of all (python -m benchmarks.convolution).
_TILES_OF_ONE, _TILES_OF_ALL = 48, 192
# Up to so many numbers, 4 MiB, each thread has sums of its own for that gradient: waiting for each other costs more.
_SUMS_OF_ONE = 2**20
_LANES = 16  # the widest vectors that the C code knows
_DTYPES = (torch.float32, torch.bfloat16)


class _Convolution(ctypes.Structure):
    """The `convolution` of winograd.c."""

    _fields_ = tuple((name, ctypes.c_int64) for name in ("images", "height", "width", "c_in", "c_out", "block", "threads", "bytes"))


def serves(dtype: torch.dtype, c_in: int, c_out: int) -> bool:
    """Whether a convolution on the CPU can be computed here; compiles the code if these channels could be."""
    return dtype in _DTYPES and c_in % _LANES == 0 and c_out % _LANES == 0 and why_not() is None


def why_not() -> str | None:
    """Why the C code cannot be used on this machine, in one line; None if it can."""
    return _loaded()[1]


def transform_kernels(weight: Tensor) -> Tensor:
    """Q g Q^T of all kernels (c_out, c_in, 3, 3)."""
    c_out, c_in = weight.shape[:2]
    taps = weight.permute(2, 3, 1, 0).float().contiguous()
    planes = taps.new_empty(36 * c_in * c_out)
    _call("mgnet_transform_kernels", _described(taps.new_empty(0, c_in, 1, 1), c_out, block=1), taps, planes)
    return planes


def convolve(
    x: Tensor, kernels: Tensor, c_in: int, c_out: int, *, bias: Tensor | None = None, addend: Tensor | None = None
) -> Tensor:
    """The convolution with zero padding 1, plus bias (c_out,) and addend (b, c_out, h, w), channels_last; no gradients.

    Raises RuntimeError where shapes or dtypes do not fit.
    """
    images, channels, h, w = x.shape
    y = x.new_empty((images, h, w, c_out))
    _require(x, x.dtype, channels == c_in and kernels.numel() == 36 * c_in * c_out, f"x of shape {tuple(x.shape)}")
    if bias is not None:
        _require(bias, bias.dtype, bias.shape == (c_out,), f"bias of shape {tuple(bias.shape)}")
        bias = bias.float().contiguous()
    if addend is not None:
        _require(addend, x.dtype, addend.shape == (images, c_out, h, w), f"addend of shape {tuple(addend.shape)}")
        addend = _by_pixels(addend)
    tiles = _tiles(x)
    share = -(-tiles // (2 * torch.get_num_threads()))  # so that a thread that is late does not leave the others waiting
    it = _described(x, c_out, block=max(1, min(_TILES_OF_ONE, share)))
    scratch = kernels.new_empty(it.threads * _scratch(it))
    _call("mgnet_convolve", it, _by_pixels(x), kernels, bias, addend, x.new_zeros(c_in), scratch, y)
    return y.movedim(3, 1)


def kernel_gradient(x: Tensor, g: Tensor) -> Tensor:
    """The derivative by the kernels (c_out, c_in, 3, 3) of the convolution of x, whose result has the derivative g; float32."""
    c_in, c_out = x.shape[1], g.shape[1]
    _require(g, x.dtype, x.shape[0] == g.shape[0] and x.shape[2:] == g.shape[2:], f"derivative of shape {tuple(g.shape)}")
    size = 36 * c_in * c_out
    apart = size <= _SUMS_OF_ONE and torch.get_num_threads() > 1
    it = _described(x, c_out, block=max(1, min(_TILES_OF_ONE if apart else _TILES_OF_ALL, _tiles(x))))
    copies = it.threads if apart else 1
    gradient = torch.empty((3, 3, c_in, c_out))
    scratch, sums = torch.empty(copies * _scratch(it)), torch.zeros(copies * size)
    zeros = x.new_zeros(max(c_in, c_out))
    _call("mgnet_kernel_gradient", it, copies, _by_pixels(x), _by_pixels(g), zeros, scratch, sums, gradient)
    return gradient.permute(3, 2, 0, 1)


def _tiles(x: Tensor) -> int:
    return x.shape[0] * -(-x.shape[2] // 4) * -(-x.shape[3] // 4)


def _by_pixels(x: Tensor) -> Tensor:
    """(b, h, w, c), copied unless it lies so in memory."""
    return x.movedim(1, 3).contiguous()


def _require(tensor: Tensor, dtype: torch.dtype, fits: bool, what: str) -> None:
    if not (fits and tensor.dtype == dtype and dtype in _DTYPES and tensor.device.type == "cpu"):
        expected = f"{dtype if dtype in _DTYPES else _DTYPES[0]} on cpu"
        raise RuntimeError(f"{what}, {tensor.dtype} on {tensor.device}, does not fit this convolution ({expected})")


def _described(x: Tensor, c_out: int, *, block: int) -> _Convolution:
    images, c_in, h, w = x.shape
    return _Convolution(images, h, w, c_in, c_out, block, torch.get_num_threads(), x.element_size())


def _scratch(it: _Convolution) -> int:
    size: int = _required_library().mgnet_scratch(ctypes.byref(it))
    return size


def _call(name: str, it: _Convolution, *arguments: Tensor | int | None) -> None:
    getattr(_required_library(), name)(ctypes.byref(it), *map(_argument, arguments))


def _argument(value: Tensor | int | None) -> ctypes.c_void_p | ctypes.c_int64:
    if isinstance(value, int):
        return ctypes.c_int64(value)
    return ctypes.c_void_p(None if value is None else value.data_ptr())


def _required_library() -> ctypes.CDLL:
    library, why = _loaded()
    if library is None:
        raise RuntimeError(why)
    return library


@cache
def _loaded() -> tuple[ctypes.CDLL | None, str | None]:
    """The library, or why there is none."""
    try:
        library = load_c(Path(__file__).with_name("winograd.c"))
    except OSError as error:
        return None, str(error)
    library.mgnet_scratch.restype = ctypes.c_int64
    for name in ("mgnet_transform_kernels", "mgnet_convolve", "mgnet_kernel_gradient"):
        getattr(library, name).restype = None
    return library, None
