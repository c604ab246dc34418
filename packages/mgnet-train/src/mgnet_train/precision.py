"""The two tiers of arithmetic and what each promises.

exact: float32 without TF32, deterministic algorithms. The same machine, thread count and recipe give the same bits, also
       across kills and restarts.
fast:  bfloat16 autocast and channels_last; on CUDA also TF32, compiled networks and CUDA graphs. The same samples in the
       same order; no promise about bits.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from mgnet_train.recipe import Recipe


class Arithmetic:
    """One tier on one device."""

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        self.is_fast = recipe.precision == "fast"
        self._device = device
        if not self.is_fast:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(not self.is_fast)
        torch.backends.cudnn.benchmark = self.is_fast
        torch.set_float32_matmul_precision("high" if self.is_fast else "highest")
        torch.backends.cudnn.allow_tf32 = self.is_fast

    def place(self, network: nn.Module) -> nn.Module:
        """The network on its device, in the tier's memory layout."""
        layout = torch.channels_last if self.is_fast else torch.contiguous_format
        return network.to(device=self._device, memory_format=layout)  # type: ignore[call-overload]

    def speed_up(self, network: nn.Module) -> None:
        """Compile in place where it pays: on CUDA, with CUDA graphs. Must precede the replication over processes."""
        if self.is_fast and self._device.type == "cuda":
            network.compile(mode="reduce-overhead")

    def images(self, images: Tensor) -> Tensor:
        """A batch in the tier's memory layout."""
        return images.contiguous(memory_format=torch.channels_last) if self.is_fast else images

    def autocast(self) -> AbstractContextManager[object]:
        """The context in which the network and its loss are computed."""
        return torch.autocast(self._device.type, dtype=torch.bfloat16) if self.is_fast else nullcontext()
