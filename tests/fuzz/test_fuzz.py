"""Every fuzz target holds on its corpus and on some inputs that are the same each time; nightly on many that are new."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import strategies as st

from fuzz.command import main
from fuzz.framework import (
    Refused,
    Tally,
    Target,
    accepted,
    all_targets,
    replay,
    require_one_line,
    run_examples,
    save_failure,
    shortened,
    try_one,
)
from mgnet_records.errors import InputError

NAMED = all_targets()


@pytest.mark.parametrize("name", NAMED)
def test_a_target_holds_on_its_corpus_and_on_a_few_inputs(name: str) -> None:
    assert NAMED[name].corpus, f"the fuzz target {name} has no committed corpus"
    for path in NAMED[name].corpus:
        replay(NAMED[name], path)
    _require_held(run_examples(NAMED[name], NAMED[name].quick, seed=0))


@pytest.mark.nightly
@pytest.mark.parametrize("name", NAMED)
def test_a_target_holds_on_many_new_inputs(name: str) -> None:
    _require_held(run_examples(NAMED[name], NAMED[name].nightly))


def test_a_corpus_belongs_to_a_target_and_is_small() -> None:
    corpus = Path(__file__).with_name("corpus")
    assert {path.name for path in corpus.iterdir()} <= NAMED.keys()
    assert sum(path.stat().st_size for path in corpus.rglob("*")) < 2_000_000


def _require_held(tally: Tally) -> None:
    if tally.error is not None:
        tally.error.__notes__ = [f"smallest failing input: {shortened(tally.failing)}"]
        raise tally.error


def _of(body: object, **more: object) -> Target:
    return Target(**{"name": "sample", "strategy": st.integers(), "body": body, "form": "json", "quick": 9, "nightly": 9, **more})  # type: ignore[arg-type]


def _refuses_above_100(value: int) -> None:
    def read() -> int:
        if value > 100:
            raise InputError("too large")
        return value

    assert accepted(read) != 7


def test_a_failure_is_shrunk_kept_and_found_again_when_the_corpus_is_replayed(tmp_path: Path) -> None:
    sample = _of(_refuses_above_100, strategy=st.integers(0, 200))
    tally = run_examples(sample, 2_000, seed=0)
    assert tally.failing == [7]
    assert isinstance(tally.error, AssertionError)
    path = save_failure(sample, tally, tmp_path)
    assert path is not None
    with pytest.raises(AssertionError):
        replay(sample, path)


def test_refusals_and_accepted_inputs_are_counted() -> None:
    tally = run_examples(_of(_refuses_above_100, strategy=st.integers(90, 110)), 21, seed=0)
    assert tally.error is None
    assert tally.accepted > 0 < tally.refused


@pytest.mark.parametrize("message", ["", "a\nb", "a\x1bb", "\u202e", "a" * 3000])
def test_a_refusal_that_is_not_one_readable_line_is_a_failure(message: str) -> None:
    with pytest.raises(AssertionError):
        require_one_line(message)

    def refused() -> None:
        raise ValueError(message)

    with pytest.raises(AssertionError):
        accepted(refused, refusal=ValueError)


def test_an_input_that_takes_for_ever_is_a_failure() -> None:
    with pytest.raises(AssertionError, match="no answer within 1 s"):
        try_one(_of(lambda value: time.sleep(value)), 60, Tally(), patience=1.0)


def test_another_error_than_the_expected_one_goes_through() -> None:
    with pytest.raises(KeyError):
        accepted(lambda: {}["a"])
    with pytest.raises(Refused):
        accepted(lambda: {}["a"], refusal=KeyError)


def test_a_target_without_a_name_of_its_own_is_refused_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["notatoin"]) == 2
    assert "did you mean notation" in capsys.readouterr().err
