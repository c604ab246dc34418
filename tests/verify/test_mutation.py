"""The properties are measured by mutation: small changes to the model's code, made in process, that no property notices."""

import pytest

from verify.mutation.engine import Mutant, mutants
from verify.mutation.planted_defects import failures

# Changes that alter nothing a MgNet computes, each with the reason.
EQUIVALENT = {
    "s = r  ->  s = None": "overwritten in the loop below it; TorchScript needs a tensor there",
    "return (self.feature(u), r)  ->  return (u, r)": "`feature` is the identity, a place for feature extraction by graph",
    "for grid in cast(list[Grid], list(self.grids)):  ->  for grid in cast(list[Grid], self.grids):": (
        "a Sequential iterates as its list does"
    ),
    "if grid.transfer is not None and fine is not None:  ->  if grid.transfer is not None or fine is not None:": (
        "the grids with a transfer are those after the first"
    ),
}
MUTANTS = tuple(mutants())


def survives(mutant: Mutant) -> bool:
    try:
        network = mutant.network()
    except Exception:
        return False  # the module does not even load
    return next(failures(network), None) is None


def test_a_sample_of_mutants_dies() -> None:
    sample = [mutant for mutant in MUTANTS[::16] if mutant.change not in EQUIVALENT]
    assert [mutant.change for mutant in sample if survives(mutant)] == []


def test_every_equivalent_change_is_still_made() -> None:
    assert set(EQUIVALENT) <= {mutant.change for mutant in MUTANTS}
    assert len(MUTANTS) > 150


@pytest.mark.nightly
def test_the_mutation_score_is_at_least_98_percent_and_every_survivor_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    surviving = [mutant.change for mutant in MUTANTS if survives(mutant)]
    assert [change for change in surviving if change not in EQUIVALENT] == []
    able = [mutant for mutant in MUTANTS if mutant.change not in EQUIVALENT]
    killed = len(MUTANTS) - len(surviving)
    with capsys.disabled():
        print(f"{len(MUTANTS)} mutants, {killed} killed, {len(surviving)} survive; {len(able)} are not equivalent")
    assert killed >= 0.98 * len(able)
    assert killed >= 0.95 * len(MUTANTS)
