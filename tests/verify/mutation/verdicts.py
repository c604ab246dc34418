"""What became of each mutant, kept in a file from run to run, and the survivors that are explained."""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from verify.mutation.mutants import Mutant, path_of
from verify.mutation.selection import sha256

EXPLAINED = Path(__file__).parent / "explained"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """`killed_by` names the test that failed or says what else happened; None where the mutant survives."""

    module: str
    name: str
    killed_by: str | None


class Verdicts:
    """The verdicts on the modules as they are now; those on a module that has changed since are hints alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / "verdicts.json"
        self._modules: dict[str, dict[str, Any]] = (
            json.loads(self._path.read_text(encoding="utf-8")) if self._path.is_file() else {}
        )

    def add(self, verdict: Verdict) -> None:
        """Keep a verdict."""
        found = self._modules.setdefault(verdict.module, {"now": {}, "before": {}})
        if found.get("sha256") != sha256(path_of(verdict.module)):
            found["before"] = found["before"] | found["now"]
            found["now"] = {}
            found["sha256"] = sha256(path_of(verdict.module))
        found["now"][verdict.name] = verdict.killed_by

    def of(self, module: str) -> dict[str, str | None]:
        """Name of the mutant -> what kills it, of this module as it is now."""
        found = self._modules.get(module, {})
        return found["now"] if found.get("sha256") == sha256(path_of(module)) else {}

    def hint(self, mutant: Mutant) -> str | None:
        """The test that killed the mutant last time."""
        found = self._modules.get(mutant.module, {"now": {}, "before": {}})
        return found["now"].get(mutant.name) or found["before"].get(mutant.name)

    def save(self) -> None:
        """Write the file."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._path.write_text(json.dumps(self._modules, indent=1), encoding="utf-8")


def explained(module: str) -> dict[str, str]:
    """Name of a mutant -> why nothing notices it, of one module. Raises ValueError for a mutant that is explained twice."""
    path = EXPLAINED / f"{module or 'top'}.toml"
    if not path.is_file():
        return {}
    reasons = tomllib.loads(path.read_text(encoding="utf-8"))
    pairs = [(name, reason) for reason, names in reasons.items() for name in names]
    twice = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
    if twice:
        raise ValueError(f"{path.name} explains {twice[0]!r} twice")
    return dict(pairs)
