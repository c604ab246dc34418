"""How do step time and memory grow with nu, channels and image size, next to the multiply-adds in closed form?

python -m benchmarks.cost [--rounds 3] [--batch 16]
As mgnet-train executes it in float32.
Slope: the exponent between neighbouring rows, log(time ratio) / log(factor); 1 is proportional, 2 quadratic.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass

import torch

from benchmarks.peak import seeded_batch
from benchmarks.report import print_table, write
from benchmarks.saved_tensors import saved_bytes
from benchmarks.timing import CLOCKS, in_turn
from benchmarks.variants import CLASSES, mgnet, variant
from mgnet_models import Notation
from mgnet_train.train.allocator import set_allocator
from mgnet_verify.counts.closed_form.mgnet import Shape, macs


@dataclass(frozen=True, kw_only=True)
class Point:
    """One network and image size; `value` is what changes along the series."""

    value: int
    notation: str
    size: int


SERIES = {
    "nu of every grid": [Point(value=nu, notation=f"MgNet[{nu},{nu},{nu},{nu}]-[64]-B^l", size=32) for nu in (1, 2, 4, 8)],
    "nu of the finest grid": [Point(value=nu, notation=f"MgNet[{nu},2,2,2]-[64]-B^l", size=32) for nu in (2, 4, 8, 16, 32)],
    "channels": [Point(value=c, notation=f"MgNet[2,2,2,2]-[{c}]-B^l", size=32) for c in (16, 32, 64, 128, 256)],
    "image size": [Point(value=size, notation="MgNet[2,2,2,2]-[64]-B^l", size=size) for size in (16, 32, 64, 128)],
}


def main() -> None:
    """Measure every series, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall", help="cpu on a busy machine, with --threads 1")
    parser.add_argument("--series", nargs="+", choices=list(SERIES), default=list(SERIES))
    arguments = parser.parse_args()
    print(set_allocator("keep"))
    torch.set_num_threads(arguments.threads)
    results = {name: _measure(name, SERIES[name], arguments) for name in arguments.series}
    print(write("cost", results, **vars(arguments)))


def _measure(name: str, points: list[Point], arguments: argparse.Namespace) -> list[dict[str, object]]:
    steps, saved = {}, []
    for point in points:
        one = variant(mgnet(point.notation), "residual channels_last winograd")
        x, y = seeded_batch(point.size, arguments.batch, CLASSES)
        saved.append(saved_bytes(one.network, lambda one=one, x=x: one.logits(one.images(x))))  # type: ignore[misc]
        steps[str(point.value)] = one.training_step(x, y)
    rows = in_turn(steps, rounds=arguments.rounds, clock=arguments.clock)
    counted = [_macs(point) for point in points]
    found: list[dict[str, object]] = []
    for k, (point, row) in enumerate(zip(points, rows)):
        before = max(k - 1, 0)
        factor = point.value / points[before].value
        found.append(
            {
                "value": point.value,
                "notation": point.notation,
                "size": point.size,
                "macs_an_image": counted[k],
                "step_ms": round(1000 * row.median, 1),
                "saved_mib": round(saved[k] / 2**20, 1),
                "slope_macs": _slope(counted[k] / counted[before], factor),
                "slope_time": _slope(row.median / rows[before].median, factor),
                "slope_saved": _slope(saved[k] / saved[before], factor),
            }
        )
    columns = [name, "network", "image", "MMAC an image", "slope", "step ms", "slope", "saved MiB", "slope"]
    order = ("value", "notation", "size", "macs_an_image", "slope_macs", "step_ms", "slope_time", "saved_mib", "slope_saved")
    cells = [[entry[key] for key in order] for entry in found]
    for row_of_cells in cells:
        row_of_cells[3] = f"{row_of_cells[3] / 1e6:.1f}"  # type: ignore[operator]
    print_table(f"cost of a training step against {name}, batch {arguments.batch}", columns, cells)
    return found


def _macs(point: Point) -> int:
    shape = Shape(num_classes=CLASSES)
    return macs(Notation.parse(point.notation), shape, size=(point.size, point.size), form="residual")


def _slope(ratio: float, factor: float) -> str:
    return "" if factor == 1 else f"{math.log(ratio) / math.log(factor):.2f}"


if __name__ == "__main__":
    main()
