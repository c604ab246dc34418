"""How long does a training step take in a process as it comes, and in one set up as mgnet-train sets itself up?

python -m benchmarks.as_shipped [--channels 64 256] [--rounds 3] [--authors CHECKOUT]
The allocator belongs to the process, so each variant is a process of its own, in turn. As it comes: the feature form
(or the authors'), float32, the system's allocator. mgnet-train: the residual form, channels_last and kept memory, in its
two precisions, and Winograd convolutions where they pay.
Kept memory needs some steps until no new page is touched, so four go before the timed ones.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time
from pathlib import Path

import torch

from benchmarks.processes import in_turn
from benchmarks.report import print_timing, write
from benchmarks.timing import compared
from mgnet_train.train.allocator import set_allocator

# Name -> words of the variant, and the allocator of its process.
PROCESSES = {
    "as shipped": ("feature", "system"),
    "feature, memory kept": ("feature", "keep"),
    "mgnet-train deterministic": ("residual channels_last winograd", "keep"),
    "mgnet-train mixed": ("residual channels_last winograd bf16", "keep"),
}


def main() -> None:
    """Parent: run the processes in turn and report. With --process: one, its seconds on the last line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--channels", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--batch", type=int, help="images in a step (128 up to 64 channels, else 64)")
    parser.add_argument("--steps", type=int, default=6, help="timed steps of each process, after four")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--authors", type=Path, help="a checkout of the authors' released code, instead of the feature form here")
    parser.add_argument("--process", choices=list(PROCESSES), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.process:
        print(json.dumps(_steps(arguments)))
        return
    results = []
    for channels in arguments.channels:
        batch = arguments.batch or (128 if channels <= 64 else 64)
        shared = ["benchmarks.as_shipped", "--channels", str(channels), "--batch", str(batch), "--steps", str(arguments.steps)]
        if arguments.authors:
            shared += ["--authors", str(arguments.authors)]
        found = in_turn({name: [*shared, "--process", name] for name in PROCESSES}, rounds=arguments.rounds)
        rows = compared({name: [result["seconds"] for result in mine] for name, mine in found.items()})
        faults = [round(statistics.median(result["faults_a_step"] for result in mine)) for mine in found.values()]
        peaks = [f"{statistics.median(result['peak_rss_mib'] for result in mine):.0f}" for mine in found.values()]
        extra = {"page faults a step": faults, "peak RSS MiB": peaks}
        print_timing(f"training step, processes in turn, [2,2,2,2]-[{channels}], batch {batch}", rows, extra)
        results.append({"channels": channels, "batch": batch, "rows": [row.as_json() for row in rows], "processes": found})
    print(write("as_shipped", results, **vars(arguments)))


def _steps(arguments: argparse.Namespace) -> dict[str, float]:
    words, allocator = PROCESSES[arguments.process]
    print(set_allocator("keep" if allocator == "keep" else "system"))
    from benchmarks.peak import seeded_batch
    from benchmarks.variants import CLASSES, authors_variant, mgnet, variant

    model = mgnet(f"MgNet[2,2,2,2]-[{arguments.channels[0]}]-B^l")
    of_authors = arguments.authors and words == "feature"
    chosen = authors_variant(arguments.authors, model.notation) if of_authors else variant(model, words)
    chosen.network.train()
    step = chosen.training_step(*seeded_batch(32, arguments.batch, CLASSES))
    for _ in range(4):
        step()
    before, seconds = _page_faults(), []
    for _ in range(arguments.steps):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    faults = (_page_faults() - before) / arguments.steps
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "seconds": statistics.median(seconds),
        "faults_a_step": faults,
        "peak_rss_mib": peak,
        "threads": torch.get_num_threads(),
    }


def _page_faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


if __name__ == "__main__":
    main()
