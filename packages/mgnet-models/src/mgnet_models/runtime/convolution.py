"""Wide 3x3 convolutions of a finished network by Winograd's minimal filtering, which the optional package mgnet-kernels computes.

On a CPU it takes a quarter of the multiplications of the direct convolution, and rounds a few times more; on other devices,
and where it would not be faster, the same modules run the direct one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from mgnet_kernels import Policy

_DTYPES = (torch.float32, torch.bfloat16)
_MANY_TILES = 2**31


class Conv3x3(nn.Conv2d):
    """An nn.Conv2d of 3x3, stride 1 and zero padding 1 that runs `mgnet_kernels.conv3x3`, on the same parameters.

    Differentiable as any convolution. While a network is exported or traced it is a plain convolution of PyTorch.
    """

    def __init__(self, convolution: nn.Conv2d, policy: Policy) -> None:
        """Take over parameters and hooks of a convolution of this geometry."""
        from mgnet_kernels import conv3x3

        nn.Module.__init__(self)
        self.__dict__.update(convolution.__dict__)
        self.policy = policy
        self._conv3x3: Callable[..., Tensor] = conv3x3
        self._converted_as = self._geometry()

    def _geometry(self) -> tuple[object, ...]:
        return self.stride, self.padding, self.dilation, self.groups, self.padding_mode

    @property
    def is_as_converted(self) -> bool:
        """False where stride, padding, dilation or groups were changed since: a segmentation network does so to its encoder."""
        return self._geometry() == self._converted_as

    @property
    def is_bare(self) -> bool:
        """Whether a call is the convolution and nothing else: no hook, no other forward method."""
        hooks = self._forward_hooks, self._forward_pre_hooks, self._backward_hooks, self._backward_pre_hooks
        return not any(hooks) and "forward" not in self.__dict__

    def freeze(self) -> None:
        """Keep the transform of the weight from call to call, for inference; a changed weight is noticed."""
        from mgnet_kernels import FrozenWeight

        self._conv3x3 = FrozenWeight().conv3x3

    def forward(self, x: Tensor) -> Tensor:
        """(b, c_in, h, w) -> (b, c_out, h, w), or one image without b."""
        if not self.is_as_converted or (type(x) is Tensor and x.dim() == 3):
            return super().forward(x)
        return self._conv3x3(x, self.weight, self.bias, policy=self.policy)


def use_winograd(network: nn.Module, policy: Policy | None = None) -> nn.Module:
    """Make every convolution that can be computed so a `Conv3x3`, in place, as convert_sync_batchnorm converts norms.

    Names and parameters stay, so that optimizers and checkpoints fit before and after; `print(network)` shows the change.
    Returns `network`; where that itself is such a convolution, its `Conv3x3`. `policy` says from which sizes on Winograd is
    used (`mgnet_kernels.Policy`), and modules whose channels it never allows are left alone, as are subclasses of nn.Conv2d,
    padding other than zeros, and weights that are parametrized or pruned. Without mgnet-kernels, or where its C code cannot
    run (`winograd_backend()` is "aten"), nothing changes.
    """
    if winograd_backend() == "aten":
        return network
    from mgnet_kernels import DEFAULT_POLICY

    return _converted(network, DEFAULT_POLICY if policy is None else policy)


def winograd_backend() -> str:
    """What computes a `Conv3x3` on this machine's CPU: "c-avx512", "c-avx2", "c-baseline", or "aten", PyTorch's convolution."""
    try:
        from mgnet_kernels import backend
    except ModuleNotFoundError as error:
        if error.name != "mgnet_kernels":
            raise
        return "aten"
    return backend()


def policy_of_every_size() -> Policy:
    """The policy that takes Winograd wherever the C kernel can compute it, faster or not: for verification.

    Raises ModuleNotFoundError without mgnet-kernels.
    """
    from mgnet_kernels import Policy

    return Policy(min_channels_float32=1, min_tiles_float32=1, min_channels_bfloat16=1, min_tiles_bfloat16=1)


def has_winograd(network: nn.Module, policy: Policy | None = None) -> bool:
    """Whether `use_winograd(network, policy)` would convert some convolution."""
    if winograd_backend() == "aten":
        return False
    from mgnet_kernels import DEFAULT_POLICY

    chosen = DEFAULT_POLICY if policy is None else policy
    return any(type(module) is nn.Conv2d and _serves(module, chosen) for module in network.modules())


def _converted(module: nn.Module, policy: Policy) -> nn.Module:
    if type(module) is nn.Conv2d:
        return Conv3x3(module, policy) if _serves(module, policy) else module
    for name, child in module._modules.items():
        if child is not None:
            module._modules[name] = _converted(child, policy)
    return module


def _serves(convolution: nn.Conv2d, policy: Policy) -> bool:
    from mgnet_kernels import is_conv3x3

    return (
        is_conv3x3(convolution)
        and "weight" in convolution._parameters  # not computed by a parametrization or by pruning
        and "forward" not in convolution.__dict__
        and any(policy.allows(dtype, convolution.in_channels, convolution.out_channels, _MANY_TILES) for dtype in _DTYPES)
    )
