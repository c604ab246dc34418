"""Activation checkpointing that moves BatchNorm's running statistics once, not once more in each recomputation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mgnet_models.runtime.convolution import ShortConvolutions


def recompute(owner: nn.Module, function: Callable[..., Tensor], *args: Any) -> Tensor:
    """`function(*args)` whose activations are recomputed in the backward pass; `owner` holds the norms it runs.

    Outputs, gradients and running statistics equal those of the plain call, also within ShortConvolutions.
    """

    again = ShortConvolutions if ShortConvolutions.are_on() else nullcontext

    @contextmanager
    def second_pass() -> Iterator[None]:
        with _frozen_statistics(owner), again():
            yield

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), second_pass()

    return checkpoint(function, *args, use_reentrant=False, context_fn=contexts)


@contextmanager
def _frozen_statistics(owner: nn.Module) -> Iterator[None]:
    """Normalise by the batch, as in the first pass, without moving the running statistics again.

    They stay in the call, with momentum 0, because checkpointing wants the recomputation to save the same tensors.
    """
    norms = [m for m in owner.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before):
            norm.momentum, norm.num_batches_tracked = momentum, count
