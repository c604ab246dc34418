"""What a forward pass leaves in memory for its backward pass, in bytes."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def saved_bytes(network: nn.Module, forward: Callable[[], Tensor]) -> int:
    """Bytes of all storages that are alive after a forward pass because of its result, each once.

    The network's own tensors and the result itself do not count. What is kept by other means than autograd's saved
    tensors, as the arguments of a checkpoint, counts too.
    """
    own = {tensor.untyped_storage()._cdata for tensor in network.state_dict().values()}
    with _Storages() as made:
        result = forward()
    own.add(result.untyped_storage()._cdata)
    gc.collect()
    return sum(size for key, (storage, size) in made.seen.items() if key not in own and not storage.expired())


class _Storages(TorchDispatchMode):
    """Notes every storage that an operation makes, without keeping it alive."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        results = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(results):
            if isinstance(leaf, Tensor):
                storage = leaf.untyped_storage()
                # A weak reference keeps the small header of a storage, so that no later one gets its address.
                self.seen[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
        return results
