"""A sweep: many runs, one after the other. Finished ones are skipped, interrupted ones resumed, failures noted.

Several processes may work through the same list at once, on one machine or many: the lock on each run folder decides who
trains what. The list is a value, so the same command continues it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mgnet_records.errors import InputError
from mgnet_records.run_result import RunResult
from mgnet_train.config.execution import Options
from mgnet_train.config.run_spec import RunSpec
from mgnet_train.errors import BusyError, StoppedError
from mgnet_train.runs.result import read_result
from mgnet_train.runs.run import fit
from mgnet_train.runs.signals import StopRequest
from mgnet_train.train.distributed import Processes


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A run that cannot finish, and why."""

    spec: RunSpec
    message: str


def run_all(specs: Sequence[RunSpec], options: Options, processes: Processes, say: Callable[[str], None]) -> list[Failure]:
    """Train every run that is not finished and that nobody else trains. StoppedError ends the sweep; it can be continued."""
    failures: list[Failure] = []
    with StopRequest() as stop:

        def train(number: int, spec: RunSpec) -> bool:
            """Whether this process need not come back to the run."""
            if any(processes.any_true(stop.asked)):
                raise StoppedError("stopped by a signal between two runs; the same command goes on")
            what = f"[{number}/{len(specs)}] {spec.network.name} on {spec.dataset}, seed {spec.seed}"
            try:
                outcome = fit(spec, options, processes)
            except BusyError:
                say(f"{what}: another process trains it")
                return False
            except InputError as error:
                failures.append(Failure(spec=spec, message=str(error)))
                say(f"{what}: FAILED, {error}")
            else:
                how = "finished before" if outcome.was_finished else f"{outcome.result.train_seconds:.1f} s"
                say(f"{what}: {outcome.result.accuracy_last:.2f} % ({how})")
            return True

        left, before = [*enumerate(specs, start=1)], None
        while left and len(left) != before:
            # Whoever trained a run when its turn came may have been stopped since: it is tried again while that helps.
            before = len(left)
            left = [one for one in left if not train(*one)]
    if left:
        say(f"{len(left)} of {len(specs)} runs are left to the processes that train them; `mgnet-train status` shows their ends")
    return failures


def finished_results(specs: Sequence[RunSpec], runs: Path) -> list[RunResult]:
    """The results that exist, in the order of the runs. A damaged one counts as none: its own run reports it."""
    return [result for spec in specs if (result := _result_of(runs / spec.folder_name)) is not None]


def _result_of(folder: Path) -> RunResult | None:
    with suppress(InputError):
        return read_result(folder)
    return None
