"""From which size on is the Winograd convolution the faster one, and how much does it round?

python -m benchmarks.convolution [--channels 32 64 128 256 512] [--sizes 4 8 16 32] [--batch 32] [--rounds 5]
Float32, channels_last, kept memory: the forward pass, and both parts of the backward pass, with the transforms of the weight
that a training step does. The limits in mgnet_kernels.Policy are read from this table: "taken" says where they lie.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from torch import Tensor

import mgnet_kernels
from benchmarks.report import print_table, write
from benchmarks.timing import CLOCKS, in_turn
from mgnet_train.train.allocator import set_allocator

_ANY_SIZE = mgnet_kernels.Policy(
    min_channels_float32=1, min_channels_bfloat16=1, min_tiles_float32=1, min_tiles_bfloat16=1
).as_arguments()


def main() -> None:
    """Time both convolutions at each size, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--channels", type=int, nargs="+", default=[32, 64, 128, 256, 512])
    parser.add_argument("--sizes", type=int, nargs="+", default=[4, 8, 16, 32])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall", help="cpu on a busy machine, with --threads 1")
    arguments = parser.parse_args()
    print(set_allocator("keep"))
    torch.set_num_threads(arguments.threads)
    if mgnet_kernels.backend_reason():
        raise SystemExit(f"no Winograd convolution to measure: {mgnet_kernels.backend_reason()}")
    with torch.inference_mode():
        found = [row for channels in arguments.channels for size in arguments.sizes for row in measure(channels, size, arguments)]
    columns = ["channels", "image", "pass", "direct ms", "winograd: times faster", "error: direct", "winograd", "taken"]
    print_table(f"3x3 convolution, batch {arguments.batch}", columns, [list(row.values()) for row in found])
    print(write("convolution", found, **vars(arguments)))


def measure(channels: int, size: int, arguments: argparse.Namespace) -> list[dict[str, object]]:
    """One size: how many times faster than direct each pass is, and the errors of both relative to float64."""
    torch.manual_seed(0)
    x, g = (torch.randn(arguments.batch, channels, size, size).to(memory_format=torch.channels_last) for _ in range(2))
    weight = torch.randn(channels, channels, 3, 3).to(memory_format=torch.channels_last)
    ops = torch.ops.mgnet
    passes: dict[str, tuple[Callable[..., Tensor], Callable[[], Tensor]]] = {
        "forward": (
            lambda x, g, weight: torch.conv2d(x, weight, padding=1),
            lambda: ops.conv3x3(x, weight, **_ANY_SIZE),
        ),
        "gradient of images": (
            lambda x, g, weight: _direct_gradient(x, g, weight, 0),
            lambda: ops.conv3x3_grad_input(g, weight, **_ANY_SIZE),
        ),
        "gradient of weight": (
            lambda x, g, weight: _direct_gradient(x, g, weight, 1),
            lambda: ops.conv3x3_grad_weight(g, x, **_ANY_SIZE),
        ),
    }
    taken = "yes" if mgnet_kernels.pays(x, weight) else "no"
    rows = []
    for name, (direct, winograd) in passes.items():
        right = direct(x.double(), g.double(), weight.double())
        ways = {"direct": lambda direct=direct: direct(x, g, weight), "winograd": winograd}
        timed = in_turn(ways, rounds=arguments.rounds, clock=arguments.clock)
        errors = [float((run() - right).norm() / right.norm()) for run in ways.values()]
        rows.append(
            {
                "channels": channels,
                "image": size,
                "pass": name,
                "direct_ms": round(1000 * timed[0].median, 2),
                "winograd_times_faster": f"{timed[1].ratio:.2f}",
                "direct_error": f"{errors[0]:.1e}",
                "winograd_error": f"{errors[1]:.1e}",
                "taken": taken,
            }
        )
    return rows


def _direct_gradient(x: Tensor, g: Tensor, weight: Tensor, which: int) -> Tensor:
    """The gradient of the images (0) or of the weight (1) by the direct convolution."""
    wanted = [which == 0, which == 1, False]
    found: Tensor = torch.ops.aten.convolution_backward(g, x, weight, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, wanted)[which]
    return found


if __name__ == "__main__":
    main()
