"""How long does one training step take in each form, layout, precision and recompute mode, at equal function?

python -m benchmarks.training_step [--channels 64 256] [--rounds 7] [--authors CHECKOUT]
The share of the peak counts the multiply-adds of direct convolutions, of which Winograd needs fewer.
The allocator keeps freed memory for all variants alike (see benchmarks.as_shipped for the other comparison).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from benchmarks.peak import achieved, flops_of, fma_peak, seeded_batch
from benchmarks.report import FOLDER, print_timing, write
from benchmarks.same_function import check_logits, check_training
from benchmarks.timing import CLOCKS, in_turn
from benchmarks.variants import CLASSES, Variant, authors_variant, mgnet, variant
from mgnet_train.train.allocator import set_allocator

VARIANTS = (
    "feature",
    "residual",
    "residual channels_last",
    "residual channels_last winograd",
    "residual channels_last winograd selective",
    "residual channels_last winograd full",
    "feature bf16",
    "residual channels_last bf16",
    "residual channels_last winograd bf16",
)


def main() -> None:
    """Check, time, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--channels", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--nu", default="2,2,2,2")
    parser.add_argument("--batch", type=int, help="images in a step (128 up to 64 channels, else 64)")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall", help="cpu on a busy machine, with --threads 1")
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), metavar="WORDS")
    parser.add_argument("--authors", type=Path, help="a checkout of the authors' released code")
    arguments = parser.parse_args()
    print(set_allocator("keep"))
    torch.set_num_threads(arguments.threads)
    peak = fma_peak(arguments.threads, FOLDER)
    results = [measure(f"MgNet[{arguments.nu}]-[{channels}]-B^l", channels, arguments, peak) for channels in arguments.channels]
    print(write("training_step", results, fma_peak=peak, **vars(arguments)))


def measure(notation: str, channels: int, arguments: argparse.Namespace, peak: dict[str, float]) -> dict[str, object]:
    """One network: same function first, then seconds of each variant's step."""
    batch = arguments.batch or (128 if channels <= 64 else 64)
    model = mgnet(notation)
    variants: list[Variant] = []
    if arguments.authors:
        theirs = authors_variant(arguments.authors, model.notation)
        assert theirs.ours is not None
        model = theirs.ours
        variants.append(theirs)
    variants += [variant(model, text) for text in arguments.variants]
    errors = {"float64": check_training(model, variants, size=arguments.size)}
    errors["as timed"] = check_logits(model, variants, size=arguments.size)
    for candidate in variants:
        candidate.network.train()
    x, y = seeded_batch(arguments.size, batch, CLASSES)
    steps = {candidate.name: candidate.training_step(x, y) for candidate in variants}
    # The operations of the direct way, whichever way is taken, so that the rates compare.
    flops = {one.name: flops_of(one.training_step(x, y)) for one in variants}
    rows = in_turn(steps, rounds=arguments.rounds, clock=arguments.clock)
    speeds = [achieved(flops[row.name], row.median, peak.get("bf16" if "bf16" in row.name else "fp32", 0)) for row in rows]
    print_timing(f"training step, {notation}, batch {batch}", rows, {"GFLOP/s (of FMA peak)": speeds})
    return {
        "notation": notation,
        "batch": batch,
        "relative_errors": errors,
        "rows": [row.as_json() | {"flops": flops[row.name]} for row in rows],
    }


if __name__ == "__main__":
    main()
