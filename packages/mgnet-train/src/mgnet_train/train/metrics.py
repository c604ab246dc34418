"""Sums that stay on the device: a step adds to them, and only the reader waits for the device."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mgnet_train.train.distributed import Processes


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Mean loss and the share of right answers over some images; `first_bad_step` is where the loss was not finite."""

    images: int
    loss: float
    correct: int
    first_bad_step: int | None


class Totals:
    """Loss, right answers and images of an epoch so far, in float64 where integers are exact."""

    def __init__(self, device: torch.device) -> None:
        self._sums = torch.zeros(3, dtype=torch.float64, device=device)
        self._marked = torch.zeros_like(self._sums)
        self._bad = torch.full((1,), -1, dtype=torch.int64, device=device)

    def add(self, loss_sum: Tensor, logits: Tensor, labels: Tensor, step: int) -> None:
        """Count one batch, without waiting for the device."""
        with torch.no_grad():
            correct = logits.argmax(1).eq(labels).sum()
            counted = loss_sum.new_tensor(len(labels))
            self._sums += torch.stack([loss_sum.to(self._sums), correct.to(self._sums), counted.to(self._sums)])
            is_first = self._bad.lt(0) & ~torch.isfinite(loss_sum)
            self._bad = torch.where(is_first, step, self._bad)

    def since_mark(self, processes: Processes) -> Reading:
        """What was added since the last mark, over all processes; sets the mark. Waits for the device."""
        reading = self._read(self._sums - self._marked, processes)
        self._marked = self._sums.clone()
        return reading

    def of_epoch(self, processes: Processes) -> Reading:
        """What was added since the epoch began, over all processes. Waits for the device."""
        return self._read(self._sums, processes)

    def begin_epoch(self) -> None:
        """Forget everything but a loss that was not finite."""
        self._sums = torch.zeros_like(self._sums)
        self._marked = torch.zeros_like(self._sums)

    def state_dict(self) -> dict[str, Tensor]:
        return {"sums": self._sums, "marked": self._marked}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self._sums = state["sums"].to(self._sums)
        self._marked = state["marked"].to(self._sums)

    def _read(self, sums: Tensor, processes: Processes) -> Reading:
        loss, correct, images = processes.total(sums).tolist()
        bad = [step for step in processes.gather(self._bad).tolist() if step >= 0]
        return Reading(
            images=round(images), loss=loss / max(images, 1), correct=round(correct), first_bad_step=min(bad, default=None)
        )
