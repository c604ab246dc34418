"""A weight that seldom changes: its transform is kept from call to call, and checked at each."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.jit import is_tracing  # type: ignore[attr-defined]

from mgnet_kernels.ops import conv3x3, kernel_for
from mgnet_kernels.policy import DEFAULT_POLICY, Policy


class FrozenWeight:
    """The transform of one weight, for inference: `frozen.conv3x3(x, weight)` is `conv3x3(x, weight)`, and soon faster.

    A transform takes about as long as convolving 20 tiles. What is kept can never be stale: at each call the weight is
    compared with a copy of the one that was transformed, bit by bit, which takes far less. Five times the
    memory of the weight, nine times in bfloat16. With `negated` it is the convolution with -weight.
    """

    def __init__(self, *, negated: bool = False) -> None:
        self._negated = negated
        self._kept: tuple[Tensor, Tensor] | None = None  # one object, so that threads see both parts of one state

    def conv3x3(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        addend: Tensor | None = None,
        *,
        policy: Policy = DEFAULT_POLICY,
    ) -> Tensor:
        """As `mgnet_kernels.conv3x3`, and that function wherever more is asked than numbers: gradients, traces, autocast."""
        if not _is_plain(x, weight, bias, addend):
            return conv3x3(x, -weight if self._negated else weight, bias, addend, policy=policy)
        kernel = kernel_for(x, weight.shape[0], policy)
        if kernel is None:  # too small: the operator would decide the same, and takes longer to call than such a convolution
            return self._direct(x, weight, bias, addend)
        kept = self._kept
        if kept is None or not _same_bits(kept[0], weight):
            copy = weight.detach().clone()
            kept = self._kept = copy, kernel.transform(-copy if self._negated else copy, policy)
        return kernel.conv3x3(x, weight, bias, addend, policy, kept[1])

    def _direct(self, x: Tensor, weight: Tensor, bias: Tensor | None, addend: Tensor | None) -> Tensor:
        if not self._negated:
            y = torch.conv2d(x, weight, bias, padding=1)
            return y if addend is None else y.add_(addend)
        y = torch.conv2d(x, weight, padding=1)
        y = torch.neg(y, out=y) if addend is None else torch.sub(addend, y, out=y)
        return y if bias is None else y.add_(bias[:, None, None])

    def __deepcopy__(self, memo: object) -> FrozenWeight:
        return FrozenWeight(negated=self._negated)

    def __reduce__(self) -> tuple[object, ...]:
        return _make, (self._negated,)


def _make(negated: bool) -> FrozenWeight:
    return FrozenWeight(negated=negated)


# Faster than torch.equal on weights that fit in a cache.
_memcmp = ctypes.CDLL(None).memcmp
_memcmp.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)


def _same_bits(copy: Tensor, weight: Tensor) -> bool:
    """Whether a weight has the bits of its copy; False also where the two lie in memory in different orders."""
    if copy.dtype != weight.dtype or copy.shape != weight.shape or copy.stride() != weight.stride():
        return False
    if not (weight.is_contiguous() or weight.is_contiguous(memory_format=torch.channels_last)):
        return torch.equal(copy, weight)
    same: bool = _memcmp(copy.data_ptr(), weight.data_ptr(), weight.nbytes) == 0
    return same


_PLAIN = (Tensor, nn.Parameter)


def _is_plain(x: Tensor, weight: Tensor, bias: Tensor | None, addend: Tensor | None) -> bool:
    """Whether all that is asked for is a convolution of plain numbers on the CPU, of fitting shapes, without gradients."""
    # What traces and transforms hand over is no plain tensor, or is noticed by one of these switches.
    if (
        type(x) is not Tensor
        or type(weight) not in _PLAIN
        or torch.compiler.is_compiling()
        or is_tracing()
        or torch.is_autocast_enabled("cpu")
        or forward_ad._current_level >= 0
        or torch._C._are_functorch_transforms_active()
        or x.dim() != 4
        or weight.shape[1:] != (x.shape[1], 3, 3)
        or (bias is not None and not (type(bias) in _PLAIN and bias.shape == weight.shape[:1]))
        or (addend is not None and not (type(addend) is Tensor and addend.shape == (len(x), len(weight), *x.shape[2:])))
    ):
        return False
    given = (x, weight, *(() if bias is None else (bias,)), *(() if addend is None else (addend,)))
    wants_gradient = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in given)
    return not wants_gradient and all(tensor.dtype == x.dtype and tensor.is_cpu for tensor in given)
