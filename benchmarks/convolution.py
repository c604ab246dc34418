"""From which size on is the short way of a 3x3 convolution the faster one, and how much does it round?

python -m benchmarks.convolution [--channels 64 128 256 512] [--sizes 4 8 16 32] [--batch 32] [--rounds 5]
Float32, channels_last, kept memory. The limits in mgnet_models.winograd are read from this table: "taken" says where they
lie.
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.report import print_table, write
from benchmarks.timing import CLOCKS, in_turn
from mgnet_models.winograd import WinogradConv2d, convolve, transform_kernels
from mgnet_train.allocator import set_allocator


def main() -> None:
    """Time both ways at each size, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--channels", type=int, nargs="+", default=[64, 128, 256, 512])
    parser.add_argument("--sizes", type=int, nargs="+", default=[4, 8, 16, 32])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall", help="cpu on a busy machine, with --threads 1")
    arguments = parser.parse_args()
    print(set_allocator("keep"))
    torch.set_num_threads(arguments.threads)
    with torch.inference_mode():
        found = [measure(channels, size, arguments) for channels in arguments.channels for size in arguments.sizes]
    columns = ["channels", "image", "direct ms", "short ms", "times faster", "direct error", "short error", "taken"]
    print_table(f"3x3 convolution, batch {arguments.batch}", columns, [list(entry.values()) for entry in found])
    print(write("convolution", found, **vars(arguments)))


def measure(channels: int, size: int, arguments: argparse.Namespace) -> dict[str, object]:
    """One size: milliseconds of both ways, and their errors relative to float64."""
    torch.manual_seed(0)
    x = torch.randn(arguments.batch, channels, size, size).to(memory_format=torch.channels_last)
    convolution = nn.Conv2d(channels, channels, 3, padding=1, bias=False).to(memory_format=torch.channels_last)
    weight = convolution.weight
    kernels = transform_kernels(weight)
    right = F.conv2d(x[:2].double(), weight.double(), padding=1)
    ways = {"direct": lambda: convolution(x), "short": lambda: convolve(x, kernels)}
    direct, short = in_turn(ways, rounds=arguments.rounds, clock=arguments.clock)
    errors = [float((run()[:2] - right).norm() / right.norm()) for run in ways.values()]
    return {
        "channels": channels,
        "image": size,
        "direct_ms": round(1000 * direct.median, 2),
        "short_ms": round(1000 * short.median, 2),
        "times_faster": f"{short.ratio:.2f}",
        "direct_error": f"{errors[0]:.1e}",
        "short_error": f"{errors[1]:.1e}",
        "taken": "yes" if _is_taken(convolution, x) else "no",
    }


def _is_taken(convolution: nn.Conv2d, x: Tensor) -> bool:
    """Whether the module decides for the short way: its result then differs from the direct one."""
    return not torch.equal(WinogradConv2d(convolution)(x), convolution(x))


if __name__ == "__main__":
    main()
