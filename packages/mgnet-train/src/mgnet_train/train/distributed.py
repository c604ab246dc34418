"""One process or many, started plainly or by torchrun: the one file that calls torch.distributed.

Control messages (stop requests, corrupt files) go over a gloo group on the host, so that no step waits for the device.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from timm.layers import convert_sync_batchnorm  # PyTorch's own would drop the ReLU that timm's BatchNorm holds
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from mgnet_records.errors import InputError

_TIMEOUT = timedelta(minutes=10)  # for another process that is alive; one that died is noticed at once


@dataclass(frozen=True, kw_only=True)
class Processes:
    """This process and its group: `rank` of `world`. Every collective must be called by all processes at the same point."""

    rank: int
    world: int
    device: torch.device
    control: dist.ProcessGroup | None = None

    @property
    def is_main(self) -> bool:
        """Whether this is the one process that writes files."""
        return self.rank == 0

    def wrap(self, model: nn.Module, *, sync_batchnorm: bool) -> nn.Module:
        """The model as one process trains it: itself, or replicated by DistributedDataParallel, which averages gradients.

        Raises InputError for SyncBatchNorm without CUDA.
        """
        if self.world == 1:
            return model
        if sync_batchnorm:
            if self.device.type != "cuda":
                raise InputError("batchnorm=sync needs CUDA devices: use batchnorm=averaged on a CPU")
            model = convert_sync_batchnorm(model)
        devices = [self.device.index] if self.device.type == "cuda" else None
        # No broadcast of buffers in forward: running statistics stay those of each process until they are averaged.
        return nn.parallel.DistributedDataParallel(
            model, device_ids=devices, forward_sync_buffers=False, gradient_as_bucket_view=True
        )

    def all_reduce(self, values: Tensor) -> Tensor:
        """The sum of `values` over all processes; the argument is left as it is."""
        if self.world > 1:
            values = values.clone()
            dist.all_reduce(values)
        return values

    def all_gather(self, values: Tensor) -> Tensor:
        """The values of all processes, (world, *shape of values), in the order of the ranks."""
        if self.world == 1 or values.numel() == 0:
            return values.new_empty(self.world, *values.shape) if values.numel() == 0 else values[None]
        parts = [torch.empty_like(values) for _ in range(self.world)]
        dist.all_gather(parts, values.contiguous())
        return torch.stack(parts)

    def any_true(self, *flags: bool) -> list[bool]:
        """For each flag, whether it is true on any process."""
        if self.control is None:
            return list(flags)
        message = torch.tensor([int(flag) for flag in flags])
        dist.all_reduce(message, op=dist.ReduceOp.MAX, group=self.control)
        return [bool(flag) for flag in message.tolist()]

    def average_(self, tensors: list[Tensor]) -> None:
        """Replace each tensor by its mean over all processes, in place."""
        if self.world == 1:
            return
        for tensor in tensors:
            dist.all_reduce(tensor)
            tensor.div_(self.world)

    def barrier(self) -> None:
        """Wait until every process is here."""
        if self.control is not None:
            dist.barrier(group=self.control)

    def broadcast(self, value: Any) -> Any:
        """The main process's value, on every process."""
        if self.control is None:
            return value
        box: list[Any] = [value]
        dist.broadcast_object_list(box, src=0, group=self.control)
        return box[0]

    def union(self, values: set[str]) -> set[str]:
        """The values of all processes."""
        if self.control is None:
            return values
        parts: list[Any] = [None] * self.world
        dist.all_gather_object(parts, values, group=self.control)
        return set().union(*parts)

    def close(self) -> None:
        """Leave the group."""
        if self.world > 1:
            dist.destroy_process_group()


def start_processes(device: str) -> Processes:
    """Join the processes of torchrun, if any, and choose the device: `auto`, `cpu`, `cuda` or `cuda:N`.

    Raises InputError for a device that is not there. A group of several processes is left by `Processes.close`.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    rank = int(os.environ.get("RANK", "0"))
    chosen = choose_device(device, int(os.environ.get("LOCAL_RANK", "0")) if world > 1 else None)
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    if world == 1:
        return Processes(rank=0, world=1, device=chosen)
    backend = "nccl" if chosen.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=_store_of_this_start(), rank=rank, world_size=world, timeout=_TIMEOUT)
    control = dist.new_group(backend="gloo", timeout=_TIMEOUT)
    assert isinstance(control, dist.ProcessGroup)  # the other type means a process outside the group
    return Processes(rank=rank, world=world, device=chosen, control=control)


def _store_of_this_start() -> Store:
    """The store in which the processes find each other's addresses.

    torchrun keeps one store over all restarts, in which a process may find the address of one that was killed. So each start
    has a prefix of its own, the number of restarts, which is the same for all processes of one machine. Over several machines
    the numbers may differ; there TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 makes torchrun take a new store.
    """
    store: Store = next(iter(rendezvous("env://", timeout=_TIMEOUT)))[0]
    if os.environ.get("LOCAL_WORLD_SIZE") == os.environ["WORLD_SIZE"]:
        store = PrefixStore(f"start_{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
    return store


def choose_device(name: str, local_rank: int | None) -> torch.device:
    """The device for a name; `auto` takes CUDA when there is one. Raises InputError for one that is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"unknown device {name!r}: use auto, cpu, cuda or cuda:0") from None
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"device {name!r} is not supported: use auto, cpu, cuda or cuda:0")
    if device.type == "cpu":
        return device
    if not torch.cuda.is_available():
        raise InputError(f"device {name!r} is not available, this PyTorch sees no CUDA device: use --device cpu")
    index = device.index if device.index is not None else (local_rank or 0)
    if index >= torch.cuda.device_count():
        raise InputError(f"device cuda:{index} is not available: use --device cuda:0 to cuda:{torch.cuda.device_count() - 1}")
    return torch.device("cuda", index)
