"""Keys and shapes of a few state dicts are frozen: a checkpoint of today loads tomorrow."""

import json
from pathlib import Path

import pytest

from models.snapshot import NAMES, STATE_DICTS, digest, layout, names_to_freeze, write

FROZEN = json.loads(STATE_DICTS.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", sorted(FROZEN["whole"]))
def test_keys_and_shapes_are_the_frozen_ones(name: str) -> None:
    assert layout(name) == FROZEN["whole"][name]


@pytest.mark.parametrize("name", sorted(FROZEN["digest"]))
def test_larger_networks_have_the_frozen_digest(name: str) -> None:
    assert digest(name) == FROZEN["digest"][name], "compare with an older version key by key"


def test_every_family_of_the_sample_has_a_frozen_digest() -> None:
    assert names_to_freeze() <= FROZEN["digest"].keys() | FROZEN["whole"].keys(), "run python -m tests.models.snapshot"


def test_the_snapshot_adds_what_is_new_and_leaves_the_rest(tmp_path: Path) -> None:
    """A lost name and a changed layout stay in the files, where the tests find them."""
    names, state_dicts = tmp_path / "names.txt", tmp_path / "state_dicts.json"
    names.write_text(NAMES.read_text(encoding="utf-8").replace("rescsc20\n", "") + "zzz_lost\n", encoding="utf-8")
    changed = json.loads(STATE_DICTS.read_text(encoding="utf-8"))
    del changed["digest"]["rescsc20"]
    changed["digest"]["msdcsc40_k12"] = "0" * 64
    state_dicts.write_text(json.dumps(changed), encoding="utf-8")
    assert write(names, state_dicts) == ["names.txt: new rescsc20", "state_dicts.json: new rescsc20"]
    assert names.read_text(encoding="utf-8") == NAMES.read_text(encoding="utf-8") + "zzz_lost\n"
    changed["digest"]["rescsc20"] = FROZEN["digest"]["rescsc20"]
    assert json.loads(state_dicts.read_text(encoding="utf-8")) == changed
    assert write(names, state_dicts) == []
