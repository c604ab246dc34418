"""The checks are measured by mutation: small changes to the code of mgnet-models, made in process, that no check notices."""

import os
import signal

import pytest

from mgnet_models import winograd_backend
from verify.mutation.checks import checks_of, failures
from verify.mutation.engine import Mutant, mutants
from verify.mutation.equivalent import EQUIVALENT

# Without the C kernel `use_winograd` changes nothing, and nothing about it can be noticed.
MUTANTS = tuple(mutant for mutant in mutants() if mutant.file != "runtime.convolution" or winograd_backend() != "aten")
# Mutants that the default profile tries.
SAMPLE = 24
# What a mutant may take; one that survives takes a few seconds.
SECONDS = 300


def survives(mutant: Mutant) -> bool:
    """Whether every check passes. In a process of its own: a change can crash the interpreter or make a loop endless."""
    child = os.fork()
    if child == 0:
        signal.alarm(SECONDS)  # ends the process
        os._exit(0 if _passes(mutant) else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _passes(mutant: Mutant) -> bool:
    try:
        variant = mutant.variant()
        return next(failures(variant, checks_of(mutant.file)), None) is None
    except BaseException:
        return False  # the module does not even load


def explained(mutant: Mutant) -> bool:
    return mutant.change in EQUIVALENT.get(mutant.file, {})


def test_a_sample_of_mutants_over_all_files_is_killed() -> None:
    """The sample is spread over all files; equivalent changes are left out."""
    sample = [mutant for mutant in MUTANTS if not explained(mutant)][:: len(MUTANTS) // SAMPLE]
    assert len({mutant.file for mutant in sample}) >= 6
    assert [(mutant.file, mutant.change) for mutant in sample if survives(mutant)] == []


def test_every_explained_change_is_still_made() -> None:
    made = {(mutant.file, mutant.change) for mutant in mutants()}
    assert {(file, change) for file, changes in EQUIVALENT.items() for change in changes} <= made
    assert len(made) > 500


@pytest.mark.nightly
def test_the_mutation_score_is_at_least_97_percent(capsys: pytest.CaptureFixture[str]) -> None:
    """Killed over all that are not explained as equivalent. An explained mutant counts on neither side, killed or not."""
    counted = [mutant for mutant in MUTANTS if not explained(mutant)]
    surviving = [mutant for mutant in counted if survives(mutant)]
    killed = len(counted) - len(surviving)
    with capsys.disabled():
        print(f"{len(MUTANTS)} mutants, {len(MUTANTS) - len(counted)} explained; {killed} of {len(counted)} others killed")
        for mutant in surviving:
            print(f"survives: {mutant.file}: {mutant.change}")
    assert killed >= 0.97 * len(counted)


@pytest.mark.nightly
def test_every_explained_change_survives() -> None:
    """What a check notices is not equivalent, and its explanation is wrong."""
    assert [(mutant.file, mutant.change) for mutant in MUTANTS if explained(mutant) and not survives(mutant)] == []
