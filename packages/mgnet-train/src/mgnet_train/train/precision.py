"""The two tiers of arithmetic and what each promises.

exact: float32 without TF32, deterministic algorithms. The same machine, thread count and recipe give the same bits, also
       across kills and restarts.
fast:  bfloat16 autocast; on CUDA also TF32, compiled networks and CUDA graphs. The same samples in the same order; no
       promise about bits.

The memory layout and the way of the convolutions are the recipe's own fields.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn

from mgnet_models import ShortConvolutions
from mgnet_models.runtime import winograd_in_c
from mgnet_train.config.recipe import Recipe


class Arithmetic:
    """One tier on one device."""

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        self.is_fast = recipe.precision == "fast"
        self._device = device
        resolved = recipe.resolved(device.type)
        self._layout = torch.channels_last if resolved.layout == "channels_last" else torch.contiguous_format
        self._may_be_short = resolved.convolution == "winograd" and device.type == "cpu"
        self._is_short = False
        if not self.is_fast:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(not self.is_fast)
        # The deterministic mode would also fill each new tensor with NaN before an operation overwrites it.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        torch.backends.cudnn.benchmark = self.is_fast
        torch.set_float32_matmul_precision("high" if self.is_fast else "highest")
        torch.backends.cudnn.allow_tf32 = self.is_fast

    def place(self, network: nn.Module) -> nn.Module:
        """The network on its device, in the recipe's memory layout."""
        dtype = torch.bfloat16 if self.is_fast else torch.float32
        self._is_short = self._may_be_short and ShortConvolutions.matter_to(network, dtype)
        return network.to(device=self._device, memory_format=self._layout)  # type: ignore[call-overload]

    def speed_up(self, network: nn.Module) -> None:
        """Compile in place where it pays: on CUDA, with CUDA graphs. Must precede the replication over processes."""
        if self.is_fast and self._device.type == "cuda":
            network.compile(mode="reduce-overhead")

    def images(self, images: Tensor) -> Tensor:
        """A batch in the recipe's memory layout."""
        return images.contiguous(memory_format=self._layout)

    def __str__(self) -> str:
        """One line for the log."""
        numbers = "bfloat16 autocast" if self.is_fast else "float32"
        layout = str(self._layout).removeprefix("torch.").removesuffix("_format")
        way = f"winograd (in {'torch' if winograd_in_c.why_not() else 'C'})" if self._is_short else "direct"
        kind = f"{numbers}, {layout}, {way} convolutions on {self._device.type}"
        return f"arithmetic: {kind} (--precision, --layout, --convolution)"

    @contextmanager
    def context(self) -> Iterator[None]:
        """In this the network, its loss and their derivatives are computed."""
        tier = torch.autocast(self._device.type, dtype=torch.bfloat16) if self.is_fast else nullcontext()
        with tier, ShortConvolutions() if self._is_short else nullcontext():
            yield
