"""Weights that come with the package, so that `pretrained=True` needs no network, and what they are stated to reach.

`make weights` trains them by mgnet-train's own recipe; stated.json holds recipe, seed, commit and the images they get right.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_DIGITS = Path(__file__).parent / "digits"


def packaged_weights(tagged_name: str) -> Path | None:
    """The safetensors file of `name.tag`, or None where no weights exist."""
    path = _DIGITS / f"{tagged_name}.safetensors"
    return path if path.is_file() else None


def stated_results() -> dict[str, dict[str, Any]]:
    """For each name with weights: recipe, seed, commit, and `test` with the images of the test split it gets right."""
    return json.loads((_DIGITS / "stated.json").read_text(encoding="utf-8"))
