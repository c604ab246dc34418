"""An execution applied: process-wide settings, and what is done to a network and its batches on one device.

deterministic: float32 without TF32, deterministic algorithms. The same machine, thread count, recipe and execution give the
               same bits, also across kills and restarts.
mixed:         autocast to bfloat16; on CUDA also TF32, compiled networks and CUDA graphs. The same samples in the same order;
               no promise about bits.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict

import torch
from torch import Tensor, nn

from mgnet_models import Conv3x3, use_winograd, winograd_backend
from mgnet_records.run_result import Execution as ExecutionRecord
from mgnet_train.config.execution import Execution
from mgnet_train.config.network import set_recompute


def apply_global_settings(execution: Execution) -> None:
    """Set PyTorch's process-wide switches for a resolved execution: threads, determinism, TF32, cuDNN's search.

    The one function of the package with such effects; a run calls it once, before its network is made. Nothing is restored:
    they are settings of the process, and a process trains one precision at a time.
    """
    is_mixed = execution.precision == "mixed"
    if execution.threads is not None:
        torch.set_num_threads(execution.threads)
    if not is_mixed:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is deterministic with fixed workspaces only
    torch.use_deterministic_algorithms(not is_mixed)
    # The deterministic mode would also fill each new tensor with NaN before an operation overwrites it.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = is_mixed
    torch.set_float32_matmul_precision("high" if is_mixed else "highest")
    torch.backends.cudnn.allow_tf32 = is_mixed


class Executor:
    """A resolved execution on one device. Making one changes nothing; its methods change what they are given."""

    def __init__(self, execution: Execution, device: torch.device) -> None:
        self.execution, self.device = execution, device
        self._is_mixed = execution.precision == "mixed"
        self._format = torch.channels_last if execution.layout == "channels_last" else torch.contiguous_format
        self._uses_winograd = False

    @property
    def convolution(self) -> str:
        """How the prepared network computes its 3x3 convolutions: "winograd" where at least one was converted."""
        return "winograd" if self._uses_winograd else "direct"

    @property
    def kernel_backend(self) -> str | None:
        """What computes the Winograd convolutions; None where there are none."""
        if not self._uses_winograd:
            return None
        return winograd_backend()

    def prepare(self, network: nn.Module) -> nn.Module:
        """The network on the device, in the memory layout, with the recompute mode and the convolution of the execution.

        Raises InputError for a recompute mode that the network does not have.
        """
        set_recompute(network, self.execution.recompute)
        if self.execution.convolution == "winograd" and self.device.type == "cpu":
            network = use_winograd(network)
        self._uses_winograd = any(isinstance(module, Conv3x3) for module in network.modules())
        return network.to(device=self.device, memory_format=self._format)  # type: ignore[call-overload]

    def compile(self, network: nn.Module) -> None:
        """Compile in place where it pays: mixed precision on CUDA, with CUDA graphs. Before the network is replicated."""
        if self._is_mixed and self.device.type == "cuda":
            network.compile(mode="reduce-overhead")

    def to_memory_format(self, images: Tensor) -> Tensor:
        """A batch (b, c, h, w) in the execution's memory layout."""
        return images.contiguous(memory_format=self._format)

    def record(self, processes: int) -> ExecutionRecord:
        """What config.json and result.json hold, once the network is prepared: the execution as it turned out."""
        values = {
            **asdict(self.execution),
            "convolution": self.convolution,
            "kernel_backend": self.kernel_backend,
            "threads": torch.get_num_threads(),
            "processes": processes,
        }
        return ExecutionRecord.model_validate(values)

    def context(self) -> AbstractContextManager[object]:
        """In this context the network, its loss and their derivatives are computed."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16) if self._is_mixed else nullcontext()

    def __str__(self) -> str:
        """One line for the log."""
        numbers = "bfloat16 autocast" if self._is_mixed else "float32"
        backend = f" ({self.kernel_backend})" if self._uses_winograd else ""
        return (
            f"execution: {self.execution.precision} ({numbers}), {self.execution.layout}, "
            f"{self.convolution} convolutions{backend}, "
            f"recompute {self.execution.recompute}, {self.execution.form} form, on {self.device.type}"
        )
