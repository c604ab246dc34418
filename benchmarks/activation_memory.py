"""What does each recompute mode keep, what does it cost in time, and how far does the process grow?

python -m benchmarks.activation_memory [--nu 2 32] [--channels 64] [--rounds 5]
Saved bytes are counted and do not depend on the machine. Time: variants in turn in one process that keeps freed memory.
Growth: one process for each variant, whose freed memory goes back to the kernel at once; the most that resident memory
grows in a step after the first.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from benchmarks.peak import seeded_batch
from benchmarks.processes import run
from benchmarks.report import print_timing, write
from benchmarks.same_function import check_training
from benchmarks.saved_tensors import saved_bytes
from benchmarks.timing import CLOCKS, in_turn
from benchmarks.variants import CLASSES, mgnet, variant
from mgnet_train.train.allocator import set_allocator

VARIANTS = (
    "residual channels_last winograd",  # first: the default, of which the costs are multiples
    "feature",
    "residual channels_last winograd selective",
    "residual channels_last winograd full",
    "residual channels_last winograd sublinear",
    "residual channels_last winograd bf16",
    "residual channels_last winograd bf16 sublinear",
)
_RETURNED = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0", "MALLOC_TOP_PAD_": "0"}


def main() -> None:
    """Parent: count, time, report. With --grow: one variant, its growth on the last line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nu", type=int, nargs="+", default=[2, 32], help="iterations on the finest grid; 2 on the others")
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall", help="cpu on a busy machine, with --threads 1")
    parser.add_argument(
        "--variants", nargs="+", default=list(VARIANTS), metavar="WORDS", help="the first is the default; feature too"
    )
    parser.add_argument("--grow", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if "feature" not in arguments.variants:
        raise SystemExit("--variants: feature is missing, of which the saved bytes are shares: name it too")
    torch.set_num_threads(arguments.threads)
    if arguments.grow:
        print(json.dumps({"growth_mib": _growth(arguments)}))
        return
    print(set_allocator("keep"))
    results = [measure(nu, arguments) for nu in arguments.nu]
    print(write("activation_memory", results, **vars(arguments)))


def measure(nu: int, arguments: argparse.Namespace) -> dict[str, object]:
    """One depth of the finest grid: same function first, then all three figures of each variant."""
    notation = f"MgNet[{nu},2,2,2]-[{arguments.channels}]-B^l"
    model = mgnet(notation)
    variants = [variant(model, words) for words in arguments.variants]
    check_training(model, variants, size=32)
    x, y = seeded_batch(32, arguments.batch, CLASSES)
    saved = [saved_bytes(one.network, lambda one=one: one.logits(one.images(x))) for one in variants]  # type: ignore[misc]
    feature = saved[arguments.variants.index("feature")]
    shared = ["benchmarks.activation_memory", "--nu", str(nu), "--channels", str(arguments.channels)]
    shared += ["--batch", str(arguments.batch), "--threads", str(arguments.threads)]
    growth = [run([*shared, "--grow", words], _RETURNED)["growth_mib"] for words in arguments.variants]
    rows = in_turn({one.name: one.training_step(x, y) for one in variants}, rounds=arguments.rounds, clock=arguments.clock)
    columns = {
        "time, none = 1": [f"{1 / row.ratio:.2f}" for row in rows],
        "saved MiB": [f"{count / 2**20:.1f}" for count in saved],
        "saved, feature form = 1": [f"{count / feature:.3f}" for count in saved],
        "RSS growth MiB": [f"{value:.0f}" for value in growth],
    }
    print_timing(f"memory, {notation}, batch {arguments.batch}", rows, columns)
    kept = [{"saved_bytes": count, "growth_mib": value} for count, value in zip(saved, growth)]
    return {"notation": notation, "rows": [row.as_json() | more for row, more in zip(rows, kept)]}


def _growth(arguments: argparse.Namespace) -> float:
    """MiB between the resident memory before a step and its highest in the step."""
    one = variant(mgnet(f"MgNet[{arguments.nu[0]},2,2,2]-[{arguments.channels}]-B^l"), arguments.grow)
    step = one.training_step(*seeded_batch(32, arguments.batch, CLASSES))
    step()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the highest mark starts again
    before = _status("VmRSS")
    step()
    return (_status("VmHWM") - before) / 1024


def _status(field: str) -> int:
    """A field of /proc/self/status, in KiB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


if __name__ == "__main__":
    main()
