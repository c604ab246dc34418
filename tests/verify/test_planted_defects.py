"""Wrong implementations fail: each defect planted in the source of mgnet-models is caught, and the source without one is not."""

from collections import Counter
from collections.abc import Callable

import pytest

from verify.mutation.checks import ALL_CHECKS, checks_of, failures
from verify.mutation.planted_defects import DEFECTS, Defect
from verify.mutation.variants import edited, load


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.name)
def test_a_planted_defect_is_caught(defect: Defect, record_property: Callable[[str, object], None]) -> None:
    name, failure = next(failures(defect.variant(), checks_of(defect.file)), (None, None))
    assert name is not None, f"{defect.name!r} survives every check"
    record_property(name, failure)


def test_there_are_more_than_a_hundred_defects_each_of_its_own() -> None:
    assert len({(d.file, d.old, d.new) for d in DEFECTS}) == len({d.name for d in DEFECTS}) == len(DEFECTS) > 100


@pytest.mark.nightly
def test_which_check_catches_which_defect(capsys: pytest.CaptureFixture[str]) -> None:
    caught = {defect.name: dict(failures(defect.variant(), checks_of(defect.file))) for defect in DEFECTS}
    with capsys.disabled():
        for name, by in caught.items():
            print(f"{name}: {', '.join(by)}")
        print(Counter(name for by in caught.values() for name in by))
    assert [name for name, by in caught.items() if not by] == []
    only = {next(iter(by)) for by in caught.values() if len(by) == 1}
    assert {"trained_as_stated", "converted_has_the_residuals", "folded_equals_the_specification"} <= only


def test_the_source_without_a_defect_passes_every_check() -> None:
    assert dict(failures(load({}), ALL_CHECKS)) == {}


def test_a_defect_that_no_longer_fits_the_code_says_so() -> None:
    with pytest.raises(ValueError, match=r"does not occur in mgnet\.grid: the planted defect must follow the code"):
        edited("mgnet.grid", "no such line", "")
