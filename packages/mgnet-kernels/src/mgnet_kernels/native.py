"""The C kernel: finding a library that is whole and fits the processor, and calling it through ctypes.

The libraries and a manifest of their hashes were made when the package was installed (hatch_build.py). Nothing is compiled or
written here. A library is hashed before it is opened: opening a truncated one would end the process with SIGBUS.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from mgnet_kernels.policy import Policy, count_tiles

_AGAIN = "install mgnet-kernels again (with uv: --reinstall-package mgnet-kernels)"
FOLDER = Path(__file__).with_name("libraries")
SOURCE = Path(__file__).with_name("csrc") / "winograd.c"
# What torch.backends.cpu.get_cpu_capability() says -> the libraries that this processor can run, the best one first. It follows
# the variable ATEN_CPU_CAPABILITY as PyTorch's own kernels do.
_RUNNABLE = {"AVX512": ("avx512", "avx2", "baseline"), "AVX2": ("avx2", "baseline")}


class _Convolution(ctypes.Structure):
    """The `convolution` of winograd.c."""

    _fields_ = tuple((name, ctypes.c_int64) for name in ("images", "height", "width", "c_in", "c_out", "block", "threads", "bytes"))


class _Strides(ctypes.Structure):
    """The `strides` of winograd.c."""

    _fields_ = tuple((name, ctypes.c_int64) for name in ("out", "in", "row", "column"))


class Kernel:
    """One library, in memory. All tensors are on the CPU, of one dtype, float32 or bfloat16, with channels in multiples of 16.

    Shapes: x (b, c_in, h, w), g (b, c_out, h, w), weight (c_out, c_in, 3, 3), any strides. Results are channels_last.
    """

    def __init__(self, name: str, path: Path) -> None:
        """Open a library. Raises OSError where it is no library for this machine, AttributeError where it is another one."""
        self.name, self.path = name, path
        library = ctypes.CDLL(str(path))
        self._scratch, self._planes = library.mgnet_scratch, library.mgnet_planes
        self._conv3x3, self._grad_weight = library.mgnet_conv3x3, library.mgnet_conv3x3_grad_weight
        self._scratch.restype = self._planes.restype = ctypes.c_int64
        self._conv3x3.restype = self._grad_weight.restype = None

    def conv3x3(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        addend: Tensor | None,
        policy: Policy,
        transformed: Tensor | None = None,
    ) -> Tensor:
        """The convolution, plus bias (c_out,) and addend (b, c_out, h, w); `transformed` is what `transform(weight)` returned."""
        s_out, s_in, s_row, s_column = weight.stride()
        strides = _Strides(s_out, s_in, s_row, s_column)
        return self._convolve(x, weight, weight.shape[0], 0, strides, bias, addend, policy, transformed)[0]

    def transform(self, weight: Tensor, policy: Policy) -> Tensor:
        """The transform of a weight, a vector in the order that the C code reads: the convolution of no image."""
        s_out, s_in, s_row, s_column = weight.stride()
        nothing = torch.empty((0, weight.shape[1], 4, 4), dtype=weight.dtype, device="cpu")
        strides = _Strides(s_out, s_in, s_row, s_column)
        return self._convolve(nothing, weight, weight.shape[0], 0, strides, None, None, policy)[1]

    def grad_input(self, g: Tensor, weight: Tensor, policy: Policy) -> Tensor:
        """The gradient with respect to x where the output has gradient g: a convolution with the weight turned around.

        The roles of its channels are swapped, and its taps are read backwards from the last one.
        """
        s_out, s_in, s_row, s_column = weight.stride()
        last_tap = 2 * s_row + 2 * s_column
        strides = _Strides(s_in, s_out, -s_row, -s_column)
        return self._convolve(g, weight, weight.shape[1], last_tap, strides, None, None, policy)[0]

    def grad_weight(self, g: Tensor, x: Tensor, policy: Policy) -> Tensor:
        """The gradient with respect to the weight where the output has gradient g."""
        images, c_in, h, w = x.shape
        c_out, tiles, threads = g.shape[1], count_tiles(images, h, w), torch.get_num_threads()
        apart = 36 * c_in * c_out <= policy.max_own_sums and threads > 1
        block = min(policy.block if apart else policy.shared_block, tiles)
        it = _Convolution(images, h, w, c_in, c_out, block, threads, x.element_size())
        copies = threads if apart else 1
        scratch, sums = _floats(copies * self._scratch(ctypes.byref(it))), _floats(copies * self._planes(ctypes.byref(it))).zero_()
        zeros = torch.zeros(max(c_in, c_out), dtype=x.dtype, device="cpu")
        gradient = _channels_last((c_out, c_in, 3, 3), x.dtype)
        x, g = _by_pixels(x), _by_pixels(g)  # names keep the copies alive during the call
        self._grad_weight(
            ctypes.byref(it), ctypes.c_int64(copies), _at(x), _at(g), _at(zeros), _at(scratch), _at(sums), _at(gradient)
        )
        return gradient

    def _convolve(
        self,
        x: Tensor,
        weight: Tensor,
        c_out: int,
        first_tap: int,
        strides: _Strides,
        bias: Tensor | None,
        addend: Tensor | None,
        policy: Policy,
        transformed: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The convolution, and the transformed weight, which is made unless it is given."""
        images, c_in, h, w = x.shape
        threads = torch.get_num_threads()
        share = -(-count_tiles(images, h, w) // (2 * threads))  # small blocks at the end: no thread waits long for another
        it = _Convolution(images, h, w, c_in, c_out, max(1, min(policy.block, share)), threads, x.element_size())
        y = _channels_last((images, c_out, h, w), x.dtype)
        planes = _floats(self._planes(ctypes.byref(it))) if transformed is None else transformed
        scratch = _floats(threads * self._scratch(ctypes.byref(it)))
        first = weight.data_ptr() + first_tap * weight.element_size() if transformed is None else None
        zeros = torch.zeros(c_in, dtype=x.dtype, device="cpu")
        x = _by_pixels(x)
        bias = None if bias is None else bias.contiguous()
        addend = None if addend is None else _by_pixels(addend)
        self._conv3x3(
            ctypes.byref(it),
            _at(x),
            ctypes.c_void_p(first),
            ctypes.byref(strides),
            _at(bias),
            _at(addend),
            _at(zeros),
            _at(planes),
            _at(scratch),
            _at(y),
        )
        return y, planes


def _floats(count: int) -> Tensor:
    # The dtype is named: without it the buffer would have torch's default dtype, which may be smaller.
    return torch.empty(count, dtype=torch.float32, device="cpu")


def _channels_last(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    # No view of a tensor: autograd does not let a view that an autograd.Function returns be changed in place.
    return torch.empty(shape, dtype=dtype, device="cpu", memory_format=torch.channels_last)


def _by_pixels(x: Tensor) -> Tensor:
    """(b, h, w, c), copied unless it lies so in memory."""
    return x.permute(0, 2, 3, 1).contiguous()


def _at(tensor: Tensor | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())


def runnable() -> tuple[str, ...]:
    """The names of the libraries that this processor can run, the best one first."""
    return _RUNNABLE.get(torch.backends.cpu.get_cpu_capability(), ("baseline",))


def find(folder: Path = FOLDER) -> dict[str, Path]:
    """Each library that the installation made and that is whole, in the order of the manifest.

    Raises OSError, with one line that says why, where there is none, one is damaged, or they belong to another winograd.c.
    """
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        if "reason" in manifest:
            raise OSError(f"not compiled at installation: {manifest['reason']}")
        source = str(manifest["source_sha256"])
        libraries = {
            str(name): (folder / str(of["file"]), int(of["size"]), str(of["sha256"])) for name, of in manifest["libraries"].items()
        }
    except FileNotFoundError:
        raise OSError(f"{folder / 'manifest.json'} is missing: {_AGAIN}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise OSError(f"{folder / 'manifest.json'} is damaged: {_AGAIN}") from None
    if hashlib.sha256(SOURCE.read_bytes()).hexdigest() != source:
        raise OSError(f"winograd.c changed since it was compiled: {_AGAIN}")
    for path, size, sha256 in libraries.values():
        if not path.is_file():
            raise OSError(f"{path} is missing: {_AGAIN}")
        if path.stat().st_size != size or hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
            raise OSError(f"{path} is damaged: {_AGAIN}")
    return {name: path for name, (path, _, _) in libraries.items()}


def load(folder: Path = FOLDER) -> Kernel:
    """The best library for this processor. Raises OSError, with one line that says why, where there is none."""
    libraries = find(folder)
    name = next((name for name in runnable() if name in libraries), None)
    if name is None:
        raise OSError(f"no library for this processor among {sorted(libraries)}: {_AGAIN}")
    try:
        return Kernel(name, libraries[name])
    except (OSError, AttributeError) as error:
        raise OSError(f"{libraries[name]} cannot be loaded: {' '.join(str(error).split())}") from None


@cache
def loaded() -> tuple[Kernel | None, str | None]:
    """The kernel of this process, or None and why there is none."""
    try:
        return load(), None
    except OSError as error:
        return None, str(error)
