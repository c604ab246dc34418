"""python -m mgnet_kernels: which kernel runs here, and why. For bug reports."""

from __future__ import annotations

import argparse
import platform
from pathlib import Path

import torch

from mgnet_kernels import backend, backend_reason, native


def main() -> None:
    """Print the backend, its reason, the libraries, the processor and the OpenMP runtimes of this process."""
    argparse.ArgumentParser(prog="python -m mgnet_kernels", description=__doc__).parse_args()
    print(f"backend: {backend()}")
    if backend_reason():
        print(f"reason: {backend_reason()}")
    print(f"processor: {platform.machine()}, {torch.backends.cpu.get_cpu_capability()}, can run {', '.join(native.runnable())}")
    print(f"libraries: {native.FOLDER}")
    for path in sorted(native.FOLDER.glob("*.so")):
        print(f"  {path.name}, {path.stat().st_size} bytes")
    print(f"OpenMP: {', '.join(openmp_runtimes()) or 'unknown'}; {torch.get_num_threads()} threads")


def openmp_runtimes() -> list[str]:
    """The OpenMP runtimes that this process has loaded, where the system says (Linux). More than one share the cores badly."""
    maps = Path("/proc/self/maps")
    if not maps.exists():
        return []
    files = {line.split()[-1] for line in maps.read_text(encoding="utf-8", errors="replace").splitlines() if "/" in line}
    return sorted(file for file in files if Path(file).name.startswith(("libgomp", "libomp", "libiomp")))


if __name__ == "__main__":
    main()
