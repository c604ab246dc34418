"""Variants that are whole processes, where allocator or data loader is the question: one after the other, round by round."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any


def in_turn(commands: Mapping[str, Sequence[str]], *, rounds: int) -> dict[str, list[dict[str, Any]]]:
    """Run `python -m ...` for each variant once a round; each ends its output with a line of JSON, which is its result.

    Raises SystemExit with the process's last line when one fails.
    """
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            results[name].append(run(command))
    return results


def run(command: Sequence[str], environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """One process and the JSON of its last line."""
    done = subprocess.run(
        [sys.executable, "-m", *command],
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    return json.loads(done.stdout.strip().splitlines()[-1])  # type: ignore[no-any-return]
