"""How busy the machine is, under MLflow's names for system metrics. Empty where psutil is not installed."""

from __future__ import annotations

import torch

try:
    import psutil  # type: ignore[import-untyped]
except ImportError:
    psutil = None  # the extra `system-metrics`

_MEGABYTE = 1e6


class MachineLoad:
    """Reads without waiting; the share of the processors in use is the mean since the last reading."""

    def __init__(self) -> None:
        if psutil is not None:
            psutil.cpu_percent()  # the first answer means nothing

    def read(self) -> dict[str, float]:
        """The metrics, all of the whole machine but for the memory of this process."""
        if psutil is None:
            return {}
        memory = psutil.virtual_memory()
        metrics = {
            "system/cpu_utilization_percentage": psutil.cpu_percent(),
            "system/system_memory_usage_megabytes": memory.used / _MEGABYTE,
            "system/system_memory_usage_percentage": memory.percent,
            "system/process_memory_megabytes": psutil.Process().memory_info().rss / _MEGABYTE,
        }
        if torch.cuda.is_initialized():
            metrics["system/gpu_memory_usage_megabytes"] = torch.cuda.max_memory_allocated() / _MEGABYTE
        return metrics
