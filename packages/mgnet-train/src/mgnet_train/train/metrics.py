"""Running sums of loss and correct answers that stay on the device: a step adds to them, and only reading waits for the device."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mgnet_train.train.distributed import Processes


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """Mean loss and correct answers over some images; `first_bad_step` is the first step whose loss was not finite."""

    images: int
    loss: float
    correct: int
    first_bad_step: int | None


class RunningMetrics:
    """Loss, correct answers and images of an epoch so far, of this process, in float64, which holds such integers exactly."""

    def __init__(self, device: torch.device) -> None:
        self._sums = torch.zeros(3, dtype=torch.float64, device=device)
        self._marked = torch.zeros_like(self._sums)
        self._bad = torch.full((1,), -1, dtype=torch.int64, device=device)

    def add(self, loss_sum: Tensor, logits: Tensor, labels: Tensor, step: int) -> None:
        """Add one micro-batch, without waiting for the device."""
        with torch.no_grad():
            correct = logits.argmax(1).eq(labels).sum()
            images = loss_sum.new_tensor(len(labels))
            self._sums += torch.stack([loss_sum.to(self._sums), correct.to(self._sums), images.to(self._sums)])
            is_first = self._bad.lt(0) & ~torch.isfinite(loss_sum)
            self._bad = torch.where(is_first, step, self._bad)

    def since_mark(self, processes: Processes) -> Snapshot:
        """What was added since the last mark, over all processes; sets the mark. Waits for the device."""
        snapshot = self._read(self._sums - self._marked, processes)
        self._marked = self._sums.clone()
        return snapshot

    def of_epoch(self, processes: Processes) -> Snapshot:
        """What was added since the epoch began, over all processes. Waits for the device."""
        return self._read(self._sums, processes)

    def begin_epoch(self) -> None:
        """Reset everything but the first step whose loss was not finite."""
        self._sums = torch.zeros_like(self._sums)
        self._marked = torch.zeros_like(self._sums)

    def state(self) -> Tensor:
        """The sums of this process, (2, 3) float64: of the epoch, and at the mark."""
        return torch.stack([self._sums, self._marked])

    def load_state(self, state: Tensor) -> None:
        """Continue from the sums of this process."""
        self._sums, self._marked = (part.clone() for part in state.to(self._sums))

    def _read(self, sums: Tensor, processes: Processes) -> Snapshot:
        loss, correct, images = processes.all_reduce(sums).tolist()
        bad = [step for step in processes.all_gather(self._bad).flatten().tolist() if step >= 0]
        return Snapshot(
            images=round(images), loss=loss / max(images, 1), correct=round(correct), first_bad_step=min(bad, default=None)
        )
