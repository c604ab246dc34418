"""Keys and shapes of a few state dicts are frozen: a checkpoint of today loads tomorrow."""

import hashlib
import json
from pathlib import Path

import pytest
import timm

FROZEN = json.loads((Path(__file__).parent / "state_dicts.json").read_text())


def layout(name: str) -> dict[str, list[int]]:
    return {key: list(tensor.shape) for key, tensor in timm.create_model(name, device="meta").state_dict().items()}


@pytest.mark.parametrize("name", sorted(FROZEN["whole"]))
def test_keys_and_shapes_are_the_frozen_ones(name):
    assert layout(name) == FROZEN["whole"][name]


@pytest.mark.parametrize("name", sorted(FROZEN["digest"]))
def test_larger_networks_have_the_frozen_digest(name):
    text = json.dumps(layout(name), sort_keys=True)
    assert hashlib.sha256(text.encode()).hexdigest() == FROZEN["digest"][name], "compare with an older version key by key"
