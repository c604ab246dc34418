"""A weight that seldom changes: its transform is kept from call to call, and checked at each."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.jit import is_tracing  # type: ignore[attr-defined]

from mgnet_kernels import native
from mgnet_kernels.ops import conv3x3, kernel_for
from mgnet_kernels.policy import DEFAULT_POLICY, Policy


class FrozenWeight:
    """The transform of one weight, for inference: `frozen.conv3x3(x, weight)` is `conv3x3(x, weight)`, and soon faster.

    A transform takes about as long as convolving 20 tiles. What is kept can never be stale: at each call the weight is
    compared with a copy of the one that was transformed, number by number, which takes a tenth of that. Five times the
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
        kernel = _kernel(x, weight, bias, addend, policy)
        if kernel is None:
            return conv3x3(x, -weight if self._negated else weight, bias, addend, policy=policy)
        kept = self._kept
        if kept is None or kept[0].dtype != weight.dtype or not torch.equal(kept[0], weight):
            copy = weight.detach().clone()
            kept = self._kept = copy, kernel.transform(-copy if self._negated else copy, policy)
        return kernel.conv3x3(x, weight, bias, addend, policy, kept[1])

    def __deepcopy__(self, memo: object) -> FrozenWeight:
        return FrozenWeight(negated=self._negated)

    def __reduce__(self) -> tuple[object, ...]:
        return _make, (self._negated,)


def _make(negated: bool) -> FrozenWeight:
    return FrozenWeight(negated=negated)


def _kernel(x: Tensor, weight: Tensor, bias: Tensor | None, addend: Tensor | None, policy: Policy) -> native.Kernel | None:
    """The C kernel where plain numbers of fitting shapes are all that is asked for."""
    given = [tensor for tensor in (x, weight, bias, addend) if tensor is not None]
    if (
        torch.compiler.is_compiling()
        or torch.is_autocast_enabled("cpu")
        or forward_ad._current_level >= 0
        or torch._C._are_functorch_transforms_active()
        or not all(type(tensor) in (Tensor, torch.nn.Parameter) and tensor.device.type == "cpu" for tensor in given)
        or (torch.is_grad_enabled() and any(tensor.requires_grad for tensor in given))
        or any(tensor.dtype != x.dtype for tensor in given)
        or x.dim() != 4
        or weight.shape[1:] != (x.shape[1], 3, 3)
        or (bias is not None and bias.shape != weight.shape[:1])
        or (addend is not None and addend.shape != (x.shape[0], weight.shape[0], *x.shape[2:]))
        or is_tracing()
    ):
        return None
    return kernel_for(x, weight.shape[0], policy)
