"""No committed file names a package registry's host, and no file carries a lock that would. Exits 1 on a find."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Written in halves, so that this file does not find itself.
REGISTRIES = [
    "pypi" + ".org",
    "python" + "hosted.org",
    "download." + "pytorch.org",
    "npm" + "js.org",
    "npm" + "js.com",
    "yarn" + "pkg.com",
    "conda." + "anaconda.org",
]
_HOST = re.compile("|".join(re.escape(host) for host in REGISTRIES), re.IGNORECASE)
_INDEX = re.compile(r"^\s*(--(extra-)?index-url|--find-links|--trusted-host|-i)\b", re.MULTILINE)
LOCKS = {"uv.lock", "pylock.toml", "poetry.lock", "package-lock.json", "yarn.lock"}


def tracked(root: Path) -> list[Path]:
    """The files that git tracks, or would track, below `root`."""
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=root, capture_output=True, check=True
    ).stdout
    return [root / name for name in names.decode().split("\0") if name and (root / name).is_file()]


def finds(paths: Iterable[Path]) -> Iterator[str]:
    """Every line that names a registry's host or an index option, and every lock file."""
    for path in paths:
        if path.name in LOCKS:
            yield f"{path}: a lock file holds registry hosts: pin in constraints.txt instead"
        text = path.read_bytes().decode("utf-8", errors="ignore")
        patterns = (_HOST, _INDEX) if path.name.endswith(("requirements.txt", "constraints.txt")) else (_HOST,)
        for pattern in patterns:
            for match in pattern.finditer(text):
                line = text.count("\n", 0, match.start()) + 1
                yield f"{path}:{line} names {match[0].strip()!r}: leave the registry to the user's settings"


def main() -> int:
    """Check the repository; the exit code is 1 when a file names a host."""
    found = list(finds(tracked(ROOT)))
    print("\n".join(found) or "hosts: no file names a registry")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
