"""From which size on is the short way of a 3x3 convolution the faster one, and how much does it round?

python -m benchmarks.convolution [--channels 32 64 128 256 512] [--sizes 4 8 16 32] [--batch 32] [--rounds 5]
Float32, channels_last, kept memory: the forward pass, and both parts of the backward pass, with the transforms of the kernels
that a training step does. "in C" is this package's own code, "in torch" what does it without a compiler. The limits in
mgnet_models.runtime.winograd are read from this table: "taken" says where they lie.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.report import print_table, write
from benchmarks.timing import CLOCKS, in_turn
from mgnet_models.runtime import winograd, winograd_in_c, winograd_in_torch
from mgnet_train.train.allocator import set_allocator

Ways = dict[str, Callable[[], Tensor]]


def main() -> None:
    """Time all ways at each size, report."""
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
    if winograd_in_c.why_not():
        raise SystemExit(f"no way in C to measure: {winograd_in_c.why_not()}")
    with torch.inference_mode():
        found = [row for channels in arguments.channels for size in arguments.sizes for row in measure(channels, size, arguments)]
    columns = [
        "channels",
        "image",
        "pass",
        "direct ms",
        "in C: times faster",
        "in torch",
        "error: direct",
        "in C",
        "in torch",
        "taken",
    ]
    print_table(f"3x3 convolution, batch {arguments.batch}", columns, [list(row.values()) for row in found])
    print(write("convolution", found, **vars(arguments)))


def measure(channels: int, size: int, arguments: argparse.Namespace) -> list[dict[str, object]]:
    """One size: how many times faster than direct each pass is in each way, and the errors relative to float64."""
    torch.manual_seed(0)
    x, g = (torch.randn(arguments.batch, channels, size, size).to(memory_format=torch.channels_last) for _ in range(2))
    weight = torch.randn(channels, channels, 3, 3).to(memory_format=torch.channels_last)
    rows = []
    passes: dict[str, tuple[Ways, Tensor]] = {
        "forward": (_forward(x, weight), torch.conv2d(x[:2].double(), weight.double(), padding=1)),
        "gradient of images": (_of_images(x, g, weight), _direct(x[:2].double(), g[:2].double(), weight.double(), 0)),
        "gradient of kernels": (_of_kernels(x, g, weight), _direct(x.double(), g.double(), weight.double(), 1)),
    }
    taken = "yes" if winograd.pays(x, weight, x.dtype) else "no"
    for name, (ways, right) in passes.items():
        timed = in_turn(ways, rounds=arguments.rounds, clock=arguments.clock)
        errors = [float((run()[: len(right)] - right).norm() / right.norm()) for run in ways.values()]
        rows.append(
            {
                "channels": channels,
                "image": size,
                "pass": name,
                "direct_ms": round(1000 * timed[0].median, 2),
                "in_c_times_faster": f"{timed[1].ratio:.2f}",
                "in_torch_times_faster": f"{timed[2].ratio:.2f}",
                "direct_error": f"{errors[0]:.1e}",
                "in_c_error": f"{errors[1]:.1e}",
                "in_torch_error": f"{errors[2]:.1e}",
                "taken": taken,
            }
        )
    return rows


def _forward(x: Tensor, weight: Tensor) -> Ways:
    return {
        "direct": lambda: torch.conv2d(x, weight, padding=1),
        "in C": lambda: winograd_in_c.convolve(x, winograd_in_c.transform_kernels(weight), len(weight), len(weight)),
        "in torch": lambda: winograd_in_torch.convolve(x, winograd_in_torch.transform_kernels(weight)),
    }


def _of_images(x: Tensor, g: Tensor, weight: Tensor) -> Ways:
    ways = _forward(g, weight.flip(2, 3).transpose(0, 1))
    return ways | {"direct": lambda: _direct(x, g, weight, 0)}


def _of_kernels(x: Tensor, g: Tensor, weight: Tensor) -> Ways:
    return {
        "direct": lambda: _direct(x, g, weight, 1),
        "in C": lambda: winograd_in_c.kernel_gradient(x, g),
        "in torch": lambda: winograd_in_torch.kernel_gradient(x, g),
    }


def _direct(x: Tensor, g: Tensor, weight: Tensor, which: int) -> Tensor:
    """The derivative by the images (0) or by the kernels (1), the direct way."""
    wanted = [which == 0, which == 1, False]
    found: Tensor = torch.ops.aten.convolution_backward(g, x, weight, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, wanted)[which]
    return found


if __name__ == "__main__":
    main()
