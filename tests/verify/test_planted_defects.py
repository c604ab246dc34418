"""Wrong implementations fail: each defect planted in the model's source is caught, and the source without one is not."""

from collections import Counter
from collections.abc import Callable

import pytest

from verify.mutation.planted_defects import ALL_PROPERTIES, DEFECTS, Defect, failures
from verify.mutation.variants import edited, load


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.name)
def test_a_planted_defect_is_caught(defect: Defect, record_property: Callable[[str, object], None]) -> None:
    name, failure = next(failures(defect.network()), (None, None))
    assert name is not None, f"{defect.name!r} survives every property"
    record_property(name, failure)


def test_there_are_more_than_sixty_defects_each_of_its_own() -> None:
    assert len({(d.file, d.old, d.new) for d in DEFECTS}) == len({d.name for d in DEFECTS}) == len(DEFECTS) > 60


@pytest.mark.nightly
def test_which_property_catches_which_defect(capsys: pytest.CaptureFixture[str]) -> None:
    caught = {defect.name: dict(failures(defect.network())) for defect in DEFECTS}
    with capsys.disabled():
        for name, by in caught.items():
            print(f"{name}: {', '.join(by)}")
        print(Counter(name for by in caught.values() for name in by))
    assert [name for name, by in caught.items() if not by] == []
    only = {next(iter(by)) for by in caught.values() if len(by) == 1}
    assert {"trains_as_specified", "gradients_as_specified", "trained_as_stated"} <= only  # no other property sees these defects


def test_the_source_without_a_defect_passes_every_property() -> None:
    assert dict(failures(load({}))) == {}
    assert len(ALL_PROPERTIES) > 20


def test_a_defect_that_no_longer_fits_the_code_says_so() -> None:
    with pytest.raises(ValueError, match=r"does not occur in grid\.py: the planted defect must follow the code"):
        edited("grid", "no such line", "")
