"""Who may import whom. Prints each import against the arrows as `file:line imports name` and exits 1.

records <- models <- train, verify; records <- leaderboard and the checks. mgnet_records needs pydantic alone; mgnet_models may
import torch, timm and what timm itself needs. Heavy libraries are kept out of the command modules, so that --help stays quick.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OURS = {"mgnet_records", "mgnet_models", "mgnet_train", "mgnet_verify", "mgnet_leaderboard"}

# Folder -> our packages that its files may import.
ALLOWED = {
    "packages/mgnet-records/src": {"mgnet_records"},
    "packages/mgnet-models/src": {"mgnet_records", "mgnet_models"},
    "packages/mgnet-train/src": {"mgnet_records", "mgnet_models", "mgnet_train"},
    "packages/mgnet-verify/src": {"mgnet_records", "mgnet_models", "mgnet_verify"},
    "leaderboard/src": {"mgnet_records", "mgnet_leaderboard"},
    "ci": {"mgnet_records"},
}
# Folder -> the only libraries that its files may import. safetensors comes with timm and is its format of weights.
NEEDS = {
    "packages/mgnet-records/src": {"pydantic"},
    "packages/mgnet-models/src": {"torch", "timm", "safetensors"},
}


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and top-level name of every import in a file, wherever it stands."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name.split(".")[0]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.lineno, node.module.split(".")[0]


def violations(root: Path) -> Iterator[str]:
    """Every import against the arrows below `root`."""
    for folder, allowed in ALLOWED.items():
        for path in sorted((root / folder).rglob("*.py")):
            for line, name in imports(path):
                if name in OURS - allowed:
                    yield f"{path.relative_to(root)}:{line} imports {name}: {folder} may import {sorted(allowed) or 'none of ours'}"
                elif folder in NEEDS and name not in NEEDS[folder] | allowed | sys.stdlib_module_names:
                    yield f"{path.relative_to(root)}:{line} imports {name}: {folder} may need {sorted(NEEDS[folder])} alone"


def main() -> int:
    """Check the repository; the exit code is 1 when an import goes against the arrows."""
    found = list(violations(ROOT))
    print("\n".join(found) or "layers: every import follows the arrows")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
