"""How long does one forward pass take without gradients: plain, folded, compiled, in bfloat16, at equal function?

python -m benchmarks.inference [--channels 64 256] [--compile] [--authors CHECKOUT]
The allocator keeps freed memory for all variants alike. Compilation takes tens of seconds for each network.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from benchmarks.peak import achieved, flops_of, fma_peak, seeded_batch
from benchmarks.report import FOLDER, print_timing, write
from benchmarks.same_function import check_logits
from benchmarks.timing import CLOCKS, in_turn
from benchmarks.variants import CLASSES, Variant, authors_variant, mgnet, variant
from mgnet_models import MgNet, optimize_for_inference
from mgnet_train.train.allocator import set_allocator


def main() -> None:
    """Check, time, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--channels", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--nu", default="2,2,2,2")
    parser.add_argument("--batch", type=int, help="images in a batch (128 up to 64 channels, else 64)")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall", help="cpu on a busy machine, with --threads 1")
    parser.add_argument("--compile", action="store_true", help="also the folded network compiled with frozen weights")
    parser.add_argument("--authors", type=Path, help="a checkout of the authors' released code")
    arguments = parser.parse_args()
    print(set_allocator("keep"))
    torch.set_num_threads(arguments.threads)
    peak = fma_peak(arguments.threads, FOLDER)
    results = [measure(f"MgNet[{arguments.nu}]-[{channels}]-B^l", channels, arguments, peak) for channels in arguments.channels]
    print(write("inference", results, fma_peak=peak, **vars(arguments)))


def measure(notation: str, channels: int, arguments: argparse.Namespace, peak: dict[str, float]) -> dict[str, object]:
    """One network: same function first, then seconds of each variant's forward pass."""
    batch = arguments.batch or (128 if channels <= 64 else 64)
    model = mgnet(notation)
    variants: list[Variant] = []
    if arguments.authors:
        theirs = authors_variant(arguments.authors, model.notation)
        assert theirs.ours is not None
        model = theirs.ours
        variants.append(theirs)
    variants += [variant(model, text) for text in ("feature", "residual", "residual channels_last")]
    variants += [_folded(model, winograd=False), _folded(model)]
    variants += [variant(model, text) for text in ("feature bf16", "residual channels_last bf16")]
    variants.append(_folded(model, bf16=True))
    if arguments.compile:
        variants += [_compiled(_folded(model)), _compiled(_folded(model, bf16=True))]
    errors = check_logits(model, variants, size=arguments.size)
    x, _ = seeded_batch(arguments.size, batch, CLASSES)
    runs = {candidate.name: candidate.inference(x) for candidate in variants}
    flops = flops_of(runs["residual"])
    feature_flops = flops_of(runs["feature"])
    rows = in_turn(runs, rounds=arguments.rounds, clock=arguments.clock)
    speeds = []
    for row in rows:
        mine = feature_flops if row.name.startswith(("feature", "authors")) else flops
        speeds.append(achieved(mine, row.median, peak.get("bf16" if "bf16" in row.name else "fp32", 0)))
    print_timing(f"inference, {notation}, batch {batch}", rows, {"GFLOP/s (of FMA peak)": speeds})
    return {
        "notation": notation,
        "batch": batch,
        "relative_errors": errors,
        "flops": {"residual": flops, "feature": feature_flops},
        "rows": [row.as_json() for row in rows],
    }


def _folded(model: MgNet, *, bf16: bool = False, winograd: bool = True) -> Variant:
    """The folded network; in bfloat16 its weights are stored so too, which autocast would convert at each call."""
    network: nn.Module = optimize_for_inference(model, winograd=winograd)
    if not bf16:
        name = "folded" if winograd else "folded, direct convolutions"
        return Variant(name=name, network=network, forward=network, channels_last=True)
    network = network.to(torch.bfloat16)
    return Variant(name="folded bf16", network=network, forward=_InBfloat16(network), channels_last=True, bf16=True)


class _InBfloat16(nn.Module):
    """Takes images as they come."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network(x.to(torch.bfloat16))


def _compiled(folded: Variant) -> Variant:
    """With frozen weights, which inductor then lays out for each convolution."""
    forward = torch.compile(folded.forward, options={"freezing": True})
    return replace(folded, name=f"{folded.name} compiled", forward=forward)


if __name__ == "__main__":
    main()
