"""The names and the state dicts that are frozen: what a release may add to and must not change.

    python -m tests.models.snapshot

adds new names to names.txt, and to state_dicts.json the digest of each network that stands behind a small one. What is frozen
stays as it is: to change or drop it, delete its line by hand first, since users' checkpoints and scripts depend on it.
"""

import hashlib
import json
from pathlib import Path

import timm

from mgnet_models import registered_names

from .small_networks import SMALL

HERE = Path(__file__).parent
NAMES = HERE / "names.txt"
STATE_DICTS = HERE / "state_dicts.json"


def layout(name: str) -> dict[str, list[int]]:
    """Keys and shapes of the state dict of a registered name."""
    return {key: list(tensor.shape) for key, tensor in timm.create_model(name, device="meta").state_dict().items()}


def digest(name: str) -> str:
    """The SHA-256 of the layout."""
    return hashlib.sha256(json.dumps(layout(name), sort_keys=True).encode()).hexdigest()


def names_to_freeze() -> set[str]:
    """The names of the small networks; `mgnet` alone has no layout, its names have."""
    return {name for name, _ in SMALL.values() if name != "mgnet"}


def write(names: Path = NAMES, state_dicts: Path = STATE_DICTS) -> list[str]:
    """Add what is new to the two files; returns the lines that say what."""
    frozen_names = names.read_text(encoding="utf-8").split()
    new_names = sorted(set(registered_names()) - set(frozen_names))
    if new_names:
        names.write_text("".join(f"{name}\n" for name in sorted([*frozen_names, *new_names])), encoding="utf-8")

    text = state_dicts.read_text(encoding="utf-8")
    frozen = json.loads(text)
    new_digests = sorted(names_to_freeze() - frozen["digest"].keys() - frozen["whole"].keys())
    if new_digests:
        # One line each, after the last: the diff shows what is new and nothing else.
        body = text.rstrip().removesuffix("}}").rstrip()
        lines = "".join(f',\n "{name}": "{digest(name)}"' for name in new_digests)
        state_dicts.write_text(f"{body}{lines}\n}}}}\n", encoding="utf-8")
    return [f"{names.name}: new {name}" for name in new_names] + [f"{state_dicts.name}: new {name}" for name in new_digests]


if __name__ == "__main__":
    print("\n".join(write()) or "nothing is new")
