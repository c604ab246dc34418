"""The roof over every figure: how many multiply-adds this CPU does in a second, and how many a network asks for.

A matrix product is no roof: on some CPUs the library's sgemm reaches half of what oneDNN's convolutions do.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

_SOURCE = Path(__file__).with_name("fma_peak.c")


def fma_peak(threads: int, folder: Path) -> dict[str, float]:
    """GFLOP/s in float32 and bfloat16 from a program compiled here; empty without a C compiler. 0 stands for no such unit."""
    compiler = shutil.which("cc")
    if compiler is None:
        return {}
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "fma_peak"
    flags = ["-O3", "-march=native", "-ffp-contract=fast", "-pthread"]
    subprocess.run([compiler, *flags, str(_SOURCE), "-o", str(program)], check=True)
    best = [max(values) for values in zip(*(_run(program, threads) for _ in range(3)))]
    return {"fp32": best[0], "bf16": best[1]}


def _run(program: Path, threads: int) -> list[float]:
    done = subprocess.run([program, str(threads)], capture_output=True, text=True, check=True)
    return [float(value) for value in done.stdout.split()]


def flops_of(run: Callable[[], object]) -> int:
    """Floating-point operations of the convolutions and products in a call, backward pass included."""
    with FlopCounterMode(display=False) as counter:
        run()
    return int(counter.get_total_flops())


def achieved(flops: int, seconds: float, peak: float) -> str:
    """GFLOP/s, and its share of the peak where one is known."""
    rate = flops / seconds / 1e9
    return f"{rate:.0f}" + (f" ({100 * rate / peak:.0f} %)" if peak else "")


def seeded_batch(size: int, batch: int, classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images (batch, 3, size, size) and labels."""
    torch.manual_seed(2)
    return torch.randn(batch, 3, size, size), torch.randint(0, classes, (batch,))
