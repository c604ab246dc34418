"""`make fuzz MINUTES=5 TARGET=name`: every target, or the named ones, for so many minutes in all."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Sequence

from fuzz.framework import Tally, Target, all_targets, replay, run_examples, run_minutes, save_failure, shortened
from mgnet_records.errors import InputError, unknown


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the targets; 0 when none failed, 1 when one did, 2 for a name that no target has."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="names of targets (all of them)")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, default=5.0, help="minutes in all, divided among the targets (%(default)s)")
    length.add_argument("--examples", type=int, metavar="N", help="this many inputs for each target instead")
    options = parser.parse_args(arguments)
    known = all_targets()
    try:
        chosen = [_named(name, known) for name in options.targets] or list(known.values())
    except InputError as error:
        print(f"fuzz: error: {error}", file=sys.stderr)
        return 2
    share = options.minutes / len(chosen)
    return max([_run(one, options.examples, share) for one in chosen])


def _named(name: str, known: dict[str, Target]) -> Target:
    if name not in known:
        raise unknown("fuzz target", name, known)
    return known[name]


def _run(target: Target, examples: int | None, minutes: float) -> int:
    for path in target.corpus:
        try:
            replay(target, path)
        except (Exception, SystemExit):
            traceback.print_exc()
            print(f"{target.name}: FAILED on {path}, which is in the corpus")
            return 1
    tally = run_minutes(target, minutes) if examples is None else run_examples(target, examples)
    if tally.error is None:
        print(f"{target.name}: {tally.examples:,} inputs, {tally.accepted:,} accepted, {tally.refused:,} refused", flush=True)
        return 0
    _report(target, tally)
    return 1


def _report(target: Target, tally: Tally) -> None:
    assert tally.error is not None
    tally.error.__notes__ = []  # Hypothesis repeats the input there, whole
    traceback.print_exception(tally.error)
    print(f"{target.name}: FAILED after {tally.examples:,} inputs")
    if tally.failing:
        print(f"smallest failing input: {shortened(tally.failing[0])}")
        print(f"kept in {save_failure(target, tally)}: commit it with the mend", flush=True)
