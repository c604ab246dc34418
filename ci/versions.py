"""Each package's version is the top heading of its CHANGELOG, and never behind its newest tag `name-version`. Exits 1 else."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = (
    "packages/mgnet-records",
    "packages/mgnet-kernels",
    "packages/mgnet-models",
    "packages/mgnet-train",
    "packages/mgnet-verify",
    "leaderboard",
)
_HEADING = re.compile(r"^## (\d+\.\d+\.\d+)", re.MULTILINE)


def _key(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def disagreements(root: Path, tags: list[str]) -> Iterator[str]:
    """Every package whose version, changelog and tags do not agree."""
    for folder in PACKAGES:
        project = tomllib.loads((root / folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        name, version = project["name"], project["version"]
        heading = _HEADING.search((root / folder / "CHANGELOG.md").read_text(encoding="utf-8"))
        if heading is None or heading[1] != version:
            top = heading[1] if heading else "no version"
            yield f"{folder}/CHANGELOG.md begins with {top}, pyproject.toml says {version}: make them equal"
        released = [tag.removeprefix(f"{name}-") for tag in tags if re.fullmatch(rf"{re.escape(name)}-\d+\.\d+\.\d+", tag)]
        newest = max(released, key=_key, default=None)
        if newest is not None and _key(version) < _key(newest):
            yield f"{folder}: version {version} is behind the tag {name}-{newest}: raise it"


def main() -> int:
    """Check the repository; the exit code is 1 when a version disagrees."""
    tags = subprocess.run(["git", "tag"], cwd=ROOT, capture_output=True, check=True, text=True).stdout.split()
    found = list(disagreements(ROOT, tags))
    print("\n".join(found) or "versions: packages, changelogs and tags agree")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
