"""`python -m verify.mutation MODULE ...` tries the mutants of modules, as `mgnet.grid`; of all without an argument."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from verify.mutation.engine import try_mutants
from verify.mutation.mutants import Mutant, modules, mutants
from verify.mutation.verdicts import Verdicts, explained

TESTS = ("tests/models/test_*.py", "tests/verify/test_package_passes_checks.py")


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 1 where a mutant survives that is not explained, or an explained one is killed."""
    parser = argparse.ArgumentParser(prog="python -m verify.mutation", description=__doc__)
    parser.add_argument("modules", nargs="*", help="modules of mgnet_models (default: all but the catalogue)")
    parser.add_argument("--seconds", type=float, default=10.0, help="of tests to try on a mutant (default: 10)")
    parser.add_argument("--explained-seconds", type=float, default=3.0, help="the same for an explained mutant (default: 3)")
    parser.add_argument("--survivors", action="store_true", help="only mutants without a verdict, and those that survived")
    parser.add_argument("--sample", type=int, metavar="N", help="every N-th mutant alone")
    parser.add_argument("--tests", nargs="+", default=TESTS, metavar="GLOB", help="files of tests (default: those of the models)")
    parser.add_argument("--folder", type=Path, default=Path("build/mutation"), help="where verdicts are kept")
    parser.add_argument("--verbose", action="store_true", help="show every mutant, not the survivors alone")
    options = parser.parse_args(arguments)
    chosen = options.modules or [module for module in modules() if next(mutants(module), None)]
    verdicts = Verdicts(options.folder)

    def seconds_of(module: str) -> dict[str, float]:
        known = verdicts.of(module) if options.survivors else {}
        reasons = explained(module)
        return {
            mutant.name: options.explained_seconds if mutant.name in reasons else options.seconds
            for number, mutant in enumerate(mutants(module))
            if not known.get(mutant.name) and (options.sample is None or number % options.sample == 0)
        }

    seconds = {module: seconds_of(module) for module in chosen}

    def seconds_for(mutant: Mutant) -> float:
        return seconds[mutant.module].get(mutant.name, 0.0)

    def show(line: str) -> None:
        if options.verbose or "SURVIVES" in line or ": " not in line:
            print(line, flush=True)

    start = time.perf_counter()
    tests = sorted(path for pattern in options.tests for path in Path().glob(pattern))
    try_mutants(dict.fromkeys(chosen, seconds_for), tests=tests, verdicts=verdicts, show=show)
    used = os.times()
    minutes = (used.user + used.system + used.children_user + used.children_system) / 60
    print(f"{minutes:.1f} minutes of processor time, {(time.perf_counter() - start) / 60:.1f} minutes")
    return report(chosen, verdicts)


def report(chosen: Sequence[str], verdicts: Verdicts) -> int:
    """Print the figures of each module and of all; 1 where a verdict and an explanation do not agree."""
    wrong: list[str] = []
    totals = [0, 0, 0]
    for module in chosen:
        known, reasons = verdicts.of(module), explained(module)
        names = [mutant.name for mutant in mutants(module)]
        killed = sum(1 for name in names if known.get(name) is not None)
        surviving = [name for name in names if name in known and known[name] is None]
        wrong += [f"survives: {module}: {name}" for name in surviving if name not in reasons]
        wrong += [f"explained, but killed by {known[name]}: {module}: {name}" for name in reasons if known.get(name)]
        wrong += [f"explained, but not made: {module}: {name}" for name in reasons if name not in names]
        counts = (killed, len(surviving), sum(1 for name in surviving if name in reasons))
        totals = [total + count for total, count in zip(totals, counts)]
        shown = f"{counts[0]:5} killed of {sum(counts[:2]):5}, {counts[2]:4} of {counts[1]:4} survivors explained"
        print(f"{module or 'top':26}{shown}")
    tried = totals[0] + totals[1]
    print("\n".join(wrong))
    score, others = totals[0] / max(tried, 1), totals[0] / max(tried - totals[2], 1)
    print(f"{totals[0]} of {tried} killed, {100 * score:.2f} %; without the explained ones {100 * others:.2f} %")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
