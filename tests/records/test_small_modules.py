"""Fields, canonical JSON, names, data sets and verdicts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from mgnet_records.canonical import canonical_json, content_id, document_text, sha256_of
from mgnet_records.datasets import BY_TIMM_TAG, DATA_SETS, display_name, normalized_key, not_the_full_set
from mgnet_records.errors import ExitCode, InputError, near_names, unknown
from mgnet_records.fields import Instant, Line, Prose, Sha256, Slug, is_slug
from mgnet_records.table_rows import CLOSE, DISCREPANT, EXACT, ROUNDED, TRUNCATED, agrees, judge

NAMES = Path(__file__).parents[1].joinpath("models", "names.txt").read_text(encoding="utf-8").split()
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)


def typed(value: Any) -> Any:
    """A value that equals another only if both print alike: Python has 1 == 1.0 == True and 0.0 == -0.0."""
    if isinstance(value, dict):
        return {key: typed(inner) for key, inner in value.items()}
    return [typed(inner) for inner in value] if isinstance(value, list) else (type(value).__name__, repr(value))


@pytest.mark.parametrize("module", ["canonical", "datasets", "errors", "files", "provenance", "table_rows"])
def test_the_cheap_modules_do_not_import_pydantic(module: str) -> None:
    code = f"import sys, mgnet_records.{module}; sys.exit('pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@given(VALUES)
def test_canonical_json_and_document_text_give_the_value_back(value: Any) -> None:
    assert typed(json.loads(canonical_json(value))) == typed(json.loads(document_text(value))) == typed(value)


@given(VALUES, VALUES)
def test_canonical_json_is_equal_for_equal_values_alone(one: Any, other: Any) -> None:
    assert (canonical_json(one) == canonical_json(other)) == (typed(one) == typed(other))


def test_the_order_of_keys_does_not_count_and_ids_are_pinned() -> None:
    assert sha256_of({"b": 1, "a": [2]}) == sha256_of({"a": [2], "b": 1})
    assert content_id({"a": 1}) == "015abd7f5cc5"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a": [float("-inf")]}])
def test_what_is_no_number_of_json_is_refused(value: Any) -> None:
    for text in (canonical_json, document_text):
        with pytest.raises(ValueError, match="JSON"):
            text(value)


@pytest.mark.parametrize("hidden", ["\u202e", "\u200b", "\x1b", "\u0085", "\u2028", "\U000e0041", "\ue000"])
def test_characters_that_hide_or_turn_text_are_refused(hidden: str) -> None:
    for kind in (Line, Prose):
        with pytest.raises(ValidationError):
            TypeAdapter(kind).validate_python(f"a{hidden}b")


def test_a_line_has_no_markup_and_prose_may_have_two_lines() -> None:
    assert TypeAdapter(Prose).validate_python("u < 0,\n\tthen") == "u < 0,\n\tthen"
    assert TypeAdapter(Line).validate_python("σ ∘ B — é") == "σ ∘ B — é"
    for text in ("a\nb", "a\tb", "<b>", ""):
        with pytest.raises(ValidationError):
            TypeAdapter(Line).validate_python(text)


@pytest.mark.parametrize("text", ["", "../a", "a/b", ".a", "A", "a..b", "a" * 97, "a\n", "MgNet[2]-[3]-B^l"])
def test_what_is_no_file_name_is_no_slug(text: str) -> None:
    assert not is_slug(text)
    with pytest.raises(ValidationError):
        TypeAdapter(Slug).validate_python(text)


@pytest.mark.parametrize(
    "text", ["0001-01-01T00:00:00Z", "2999-01-01T00:00:00Z", "2026-02-30T00:00:00Z", "2026-01-01T00:00:00", "2018-01-01T00:00:00Z"]
)
def test_a_time_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Instant).validate_python(text)


def test_a_digest_of_zeros_is_refused() -> None:
    with pytest.raises(ValidationError, match="zeros"):
        TypeAdapter(Sha256).validate_python("0" * 64)


def test_an_input_error_is_one_printable_line_with_exit_code_two() -> None:
    error = InputError("bad\n  file \udcff\x1b[1m: fix it")
    assert str(error) == "bad file \\udcff\\x1b[1m: fix it"
    assert str(error).encode()
    assert error.exit_code is ExitCode.BAD_INPUT
    assert int(error.exit_code) == 2


def test_the_nearest_name_lacks_parts_of_the_one_that_is_meant() -> None:
    assert near_names("mgnet_2_2_2_c256", NAMES)[0] == "mgnet_2_2_2_2_c256_bl"
    assert near_names("CIFAR-10", DATA_SETS)[0] == "cifar10"
    assert near_names("nosuch", NAMES) == []


@given(st.data())
def test_a_name_with_one_wrong_letter_finds_the_name(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(NAMES))
    letters = [i for i, c in enumerate(name) if c.isalpha()]
    i = data.draw(st.sampled_from(letters))
    typo = name[:i] + data.draw(st.sampled_from(["", "q", name[i] * 2])) + name[i + 1 :]
    assert typo in NAMES or name in near_names(typo, NAMES)


@given(st.text(max_size=30), st.lists(st.text(max_size=10), max_size=8))
def test_near_names_are_known_names_each_once(name: str, known: list[str]) -> None:
    found = near_names(name, known, limit=3)
    assert len(found) == len(set(found)) <= 3
    assert set(found) <= set(known)


def test_an_unknown_name_is_answered_with_near_names_or_with_the_first() -> None:
    assert str(unknown("data set", "cifar1o", DATA_SETS)) == "unknown data set 'cifar1o': did you mean cifar10, cifar100?"
    assert (
        str(unknown("data set", "qqqq", DATA_SETS))
        == "unknown data set 'qqqq': known are cifar10, cifar100, digits, imagenet, mnist, svhn"
    )
    assert str(unknown("network", "zzz", NAMES)).endswith(f", ... ({len(NAMES)} in all)")


def test_a_data_set_is_found_by_its_key_its_tag_and_the_names_that_people_print() -> None:
    for key, data in DATA_SETS.items():
        assert data.key == key == normalized_key(data.paper_name) == normalized_key(data.display_name)
        assert BY_TIMM_TAG[data.timm_tag] is data
        assert len(data.mean) == len(data.std) == data.input_size[0]
    assert (display_name("cifar100"), display_name("mine")) == ("CIFAR-100", "mine")


@pytest.mark.parametrize(
    ("name", "n", "classes", "said"),
    [
        ("CIFAR-10", 10_000, 10, "write 'cifar10'"),
        ("cifar10", 1_000, 10, "10000 test images, not 1000"),
        ("cifar10", 10_000, 100, "10 classes, not 100"),
    ],
)
def test_a_part_of_a_data_set_may_not_bear_its_name(name: str, n: int, classes: int, said: str) -> None:
    assert said in (not_the_full_set(name, n=n, classes=classes) or "")
    assert not_the_full_set("mine", n=n, classes=classes) is None
    assert not_the_full_set("cifar10", n=10_000, classes=None) is None


@pytest.mark.parametrize(
    ("printed", "exact", "verdict"),
    [
        ("8.3M", 8_300_000, EXACT),
        ("8.3M", 8_349_999, EXACT),
        ("8.3M", 8_250_000, ROUNDED),
        ("8.3M", 8_399_999, TRUNCATED),
        ("8.3M", 8_220_000, CLOSE),
        ("8.3M", 7_000_000, DISCREPANT),
        ("11M", 11_400_000, EXACT),
    ],
)
def test_the_verdict_goes_by_the_digits_that_are_printed(printed: str, exact: int, verdict: str) -> None:
    assert judge(printed, exact) == verdict


@given(st.integers(1, 10**9), st.integers(0, 3))
def test_a_count_printed_by_rounding_or_truncating_agrees(exact: int, digits: int) -> None:
    for cut in (exact // 10 ** (6 - digits), (exact + 5 * 10 ** (5 - digits)) // 10 ** (6 - digits)):
        whole, part = divmod(cut, 10**digits)
        assert agrees(judge(f"{whole}.{part:0{digits}}M" if digits else f"{whole}M", exact))


def test_a_count_that_is_not_in_millions_is_refused() -> None:
    for printed in ("8.3", "8,3M", "xM", "1e3M"):
        with pytest.raises(ValueError, match="in millions"):
            judge(printed, 1)
