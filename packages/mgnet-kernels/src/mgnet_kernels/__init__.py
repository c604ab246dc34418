"""The Winograd convolution F(4x4, 3x3) on CPUs as an operator of torch.library; see README.md.

from mgnet_kernels import conv3x3
y = conv3x3(x, weight, bias, addend)      # torch.ops.mgnet.conv3x3: differentiable, compilable, under autocast
mgnet_kernels.backend()                   # "c-avx512", "c-avx2", "c-baseline", or "aten": PyTorch's direct convolution
"""

from mgnet_kernels import native
from mgnet_kernels.frozen import FrozenWeight
from mgnet_kernels.ops import conv3x3, pays
from mgnet_kernels.policy import DEFAULT_POLICY, Policy, is_conv3x3

__all__ = ["DEFAULT_POLICY", "FrozenWeight", "Policy", "backend", "backend_reason", "conv3x3", "is_conv3x3", "pays"]


def backend() -> str:
    """What computes wide convolutions on the CPU of this process: "c-avx512", "c-avx2", "c-baseline" or "aten".

    Settled at the first call or the first convolution; nothing is compiled.
    """
    kernel, _ = native.loaded()
    return "aten" if kernel is None else f"c-{kernel.name}"


def backend_reason() -> str | None:
    """Why `backend()` is "aten", in one line; None where it is not."""
    return native.loaded()[1]


def __dir__() -> list[str]:
    return list(__all__)
