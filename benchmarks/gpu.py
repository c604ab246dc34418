"""How many images a second does one GPU train, in each form, precision and way of execution, and what is the share of its peak?

python -m benchmarks.gpu [--authors CHECKOUT]            on a machine with a CUDA device, ten to twenty minutes
python -m benchmarks.gpu --device cpu --tiny             checks that the benchmark itself works, with small networks
Baseline: the feature form as it comes, eager, float32 (convolutions in TF32, torch's default), NCHW. The peak is that of
a bfloat16 matrix product of 8192 x 8192, measured here.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.peak import achieved, flops_of
from benchmarks.report import print_timing, write
from benchmarks.same_function import check_training
from benchmarks.timing import in_turn
from benchmarks.variants import CLASSES, Variant, authors_variant, mgnet, variant
from mgnet_models import MgNet


@dataclass(frozen=True, kw_only=True)
class Case:
    """A network, its images and its batch."""

    notation: str
    stem: str
    size: int
    batch: int


CASES = (
    Case(notation="MgNet[2,2,2,2]-[64]-B^l", stem="cifar", size=32, batch=1024),
    Case(notation="MgNet[2,2,2,2]-[256]-B^l", stem="cifar", size=32, batch=1024),
    Case(notation="MgNet[2,2,2,2]-[256]-B^l", stem="cifar", size=32, batch=128),
    Case(notation="MgNet[2,2,2,2]-[512]-B^l", stem="cifar", size=32, batch=512),
    Case(notation="MgNet[2,2,2,2]-[1024]-B^l", stem="cifar", size=32, batch=256),
    Case(notation="MgNet[3,4,6,3]-[128,256,512,1024]-B^{l,i}", stem="imagenet", size=224, batch=256),
)
TINY = (
    Case(notation="MgNet[2,2]-[8]-B^l", stem="cifar", size=8, batch=4),
    Case(notation="MgNet[1,2]-[4,8]-B^{l,i}", stem="imagenet", size=32, batch=2),
)
# Words of the variant, whether TF32 is allowed, and how it is executed.
EXECUTIONS = (
    ("feature", True, "eager"),
    ("feature", False, "eager"),
    ("residual", True, "eager"),
    ("residual channels_last", True, "eager"),
    ("feature bf16", True, "eager"),
    ("residual channels_last bf16", True, "eager"),
    ("residual channels_last bf16 selective", True, "eager"),
    ("residual channels_last bf16", True, "compiled"),
    ("residual channels_last bf16", True, "compiled, CUDA graphs"),
)


def main() -> None:
    """Check each network's function, time its executions in turn, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="small networks, to check this benchmark")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=5, help="steps in one timing")
    parser.add_argument("--authors", type=Path, help="a checkout of the authors' released code")
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("--device cuda: torch sees no CUDA device; --device cpu --tiny checks the benchmark without one")
    torch.backends.cudnn.benchmark = True
    peak = _bf16_peak(arguments.device, 256 if arguments.tiny else 8192)
    print(f"bfloat16 matrix product: {peak:.0f} GFLOP/s")
    results = [_measure(case, arguments, peak) for case in (TINY if arguments.tiny else CASES)]
    print(write("gpu", results, bf16_matmul_gflops=peak, **vars(arguments)))


def _measure(case: Case, arguments: argparse.Namespace, peak: float) -> dict[str, object]:
    model = mgnet(case.notation, stem=case.stem).to(arguments.device)
    torch.manual_seed(2)
    x = torch.randn(case.batch, 3, case.size, case.size, device=arguments.device)
    y = torch.randint(0, CLASSES, (case.batch,), device=arguments.device)
    runs, flops = {}, {}
    for name, chosen, tf32, execution in _executions(case, model, arguments):
        flops[name] = flops_of(_step(chosen, "eager", x, y, tf32=tf32))
        runs[name] = _repeated(_step(chosen, execution, x, y, tf32=tf32), arguments.steps)
    wait = torch.cuda.synchronize if arguments.device == "cuda" else (lambda: None)
    rows = in_turn(runs, rounds=arguments.rounds, wait=wait)
    rates = [f"{arguments.steps * case.batch / row.median:.0f}" for row in rows]
    shares = [achieved(flops[row.name], row.median / arguments.steps, peak) for row in rows]
    title = f"training on {arguments.device}, {case.notation}, {case.size} pixels, batch {case.batch}"
    print_timing(title, rows, {"images/s": rates, "GFLOP/s (of bf16 product)": shares})
    return {"case": vars(case), "rows": [row.as_json() | {"flops_a_step": flops[row.name]} for row in rows]}


def _executions(case: Case, model: MgNet, arguments: argparse.Namespace) -> Iterator[tuple[str, Variant, bool, str]]:
    """Name, variant, TF32 and execution of each, after a check of its function; the authors' code comes first if given."""
    if arguments.authors and case.stem == "cifar":
        theirs = authors_variant(arguments.authors, model.notation)
        assert theirs.ours is not None
        theirs.network.to(arguments.device)
        check_training(theirs.ours.to(arguments.device), [theirs], size=32)
        yield "authors' code eager", theirs, True, "eager"
    for words, tf32, execution in EXECUTIONS:
        chosen = variant(model, words)
        check_training(model, [chosen], size=32)
        yield f"{words}{'' if tf32 else ' without TF32'} {execution}", chosen, tf32, execution


def _step(chosen: Variant, execution: str, x: Tensor, y: Tensor, *, tf32: bool) -> Callable[[], None]:
    """A training step; the optimizer is fused on CUDA where the baseline's is torch's default."""
    forward: Callable[[Tensor], Tensor] = chosen.logits
    if execution != "eager":
        mode = "reduce-overhead" if "graphs" in execution else "default"
        forward = torch.compile(forward, mode=mode)
    x = chosen.images(x)
    fused = x.device.type == "cuda" and execution != "eager"
    optimizer = torch.optim.SGD(chosen.network.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4, fused=fused)

    def step() -> None:
        torch.backends.cudnn.allow_tf32 = tf32
        torch.backends.cuda.matmul.allow_tf32 = tf32
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(forward(x).float(), y).backward()
        optimizer.step()

    return step


def _repeated(step: Callable[[], None], count: int) -> Callable[[], None]:
    def run() -> None:
        for _ in range(count):
            step()

    return run


def _bf16_peak(device: str, n: int) -> float:
    """GFLOP/s of a bfloat16 matrix product, the best of ten."""
    product = nn.Linear(n, n, bias=False, device=device, dtype=torch.bfloat16).requires_grad_(False)
    x = torch.randn(n, n, device=device, dtype=torch.bfloat16)
    best = float("inf")
    for _ in range(10):
        start = time.perf_counter()
        product(x)
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return 2 * n**3 / best / 1e9


if __name__ == "__main__":
    main()
