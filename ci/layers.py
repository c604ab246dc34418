"""Who may import whom. Prints each import against the arrows as `file:line imports name: the rule` and exits 1.

    records, kernels  <-  models  <-  train, verify          records  <-  train, verify, leaderboard

Each package may also need certain libraries and no others. Inside mgnet_models the mathematics (mgnet/) reaches nothing of
how it is computed (runtime/), not even through other modules.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STANDARD = frozenset(sys.stdlib_module_names)


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What the files of a folder may import: our packages, and libraries (None: any that its pyproject.toml declares)."""

    ours: frozenset[str]
    libraries: frozenset[str] | None = None


def _rule(*ours: str, libraries: tuple[str, ...] | None = None) -> Rule:
    return Rule(ours=frozenset(ours), libraries=None if libraries is None else frozenset(libraries))


RULES = {
    "packages/mgnet-records/src": _rule("mgnet_records", libraries=("pydantic",)),
    "packages/mgnet-kernels/src": _rule("mgnet_kernels", libraries=("torch",)),
    "packages/mgnet-models/src": _rule(
        "mgnet_models", "mgnet_records", "mgnet_kernels", libraries=("torch", "timm", "safetensors")
    ),
    "packages/mgnet-train/src": _rule("mgnet_train", "mgnet_models", "mgnet_records"),
    "packages/mgnet-verify/src": _rule("mgnet_verify", "mgnet_models", "mgnet_records"),
    "leaderboard/src": _rule("mgnet_leaderboard", "mgnet_records"),
    "ci": _rule("mgnet_records"),
}
OURS = {"mgnet_records", "mgnet_kernels", "mgnet_models", "mgnet_train", "mgnet_verify", "mgnet_leaderboard"}

# A folder of modules, and the modules that none of its own may reach, by whatever way. The mathematics knows no names of a
# registry and no weights either.
MODELS = "packages/mgnet-models/src"
MATHEMATICS = "mgnet_models.mgnet"
OUT_OF_REACH = ("mgnet_models.runtime", "mgnet_models.families", "mgnet_models.catalogue", "mgnet_models.weights")


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of every import in a file, wherever in the file; `from a import b` gives a.b."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


def violations(root: Path) -> Iterator[str]:
    """Every import against the arrows below `root`."""
    for folder, rule in RULES.items():
        for path in sorted((root / folder).rglob("*.py")):
            for line, full_name in imports(path):
                name = full_name.partition(".")[0]
                place = f"{path.relative_to(root)}:{line} imports {name}"
                if name in OURS - rule.ours:
                    yield f"{place}: {folder} may import {', '.join(sorted(rule.ours)) or 'none of ours'}"
                elif rule.libraries is not None and name not in rule.libraries | rule.ours | STANDARD:
                    yield f"{place}: {folder} may need {', '.join(sorted(rule.libraries))} alone"
    yield from _reaches(root / MODELS)


def closure(source: Path, module: str) -> set[str]:
    """The modules of the same package that a module imports, directly or through others; itself included."""
    found: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = _file(source, name)
        if name in found or path is None:
            continue
        found.add(name)
        own = name.partition(".")[0] + "."
        for _, imported in imports(path):
            # `from a.b import c`: c is a module or a name inside of a.b. The packages around them are executed too, but the
            # top one, which re-exports all, is what a user imports and no dependency of the file.
            parts = imported.split(".")
            waiting += [".".join(parts[:length]) for length in range(2, len(parts) + 1) if imported.startswith(own)]
    return found


def _file(source: Path, module: str) -> Path | None:
    path = source.joinpath(*module.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def _reaches(source: Path) -> Iterator[str]:
    for path in sorted((source / MATHEMATICS.replace(".", "/")).glob("*.py")):
        module = f"{MATHEMATICS}.{path.stem}"
        for reached in sorted(closure(source, module)):
            if any(reached == far or reached.startswith(far + ".") for far in OUT_OF_REACH):
                yield f"{module} reaches {reached}: the mathematics may not depend on how it is computed"


def main() -> int:
    """Check the repository; the exit code is 1 when an import goes against the arrows."""
    found = list(violations(ROOT))
    print("\n".join(found) or "layers: every import follows the arrows")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
