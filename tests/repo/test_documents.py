"""What the documents name exists: paths in backticks, targets of links, and every file of the tree in docs/architecture.md."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = [*sorted((ROOT / "packages").glob("mgnet-*")), ROOT / "leaderboard"]
DOCUMENTS = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *(path for package in PACKAGES for path in sorted(package.glob("*.md"))),
]

# A path in backticks has a slash and ends like a folder or like a file that somebody wrote. What commands write or read
# elsewhere, and timm's prefixes of a source, are no paths of the repository.
_PATH = re.compile(r"`([\w.-]+(?:/[\w.-]+)*(?:/|/[\w.-]+\.(?:py|c|md|sh|toml|txt|json|js|css|j2|yml)))`")
_WRITTEN = ("build/", "dist/", "runs/", "data/", "measured/", "verified/", "val/", "wds/", "hfds/", "tfds/", "hfids/")
_LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)\s]*)?\)")
_FENCE = re.compile(r"```.*?```", re.DOTALL)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_path_in_backticks_exists(document: Path) -> None:
    text = _FENCE.sub("", document.read_text(encoding="utf-8"))
    missing = [path for path in _PATH.findall(text) if not path.startswith(_WRITTEN) and not _exists(path, document)]
    assert not missing


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file(document: Path) -> None:
    text = _FENCE.sub("", document.read_text(encoding="utf-8"))
    assert [link for link in _LINK.findall(text) if not (document.parent / link).exists()] == []


def test_every_path_of_the_tree_exists() -> None:
    assert [str(path) for path in _tree() if not (ROOT / path).exists()] == []


def test_every_source_file_is_in_the_tree() -> None:
    files = {
        path.relative_to(ROOT) for package in PACKAGES for path in (package / "src").rglob("*.py") if not path.name.startswith("__")
    }
    assert sorted(str(path) for path in files - set(_tree())) == []


def _exists(path: str, document: Path) -> bool:
    """Whether a path exists, seen from the root, the document, a package, its source, or by the short forms of the glossary."""
    sources = [next((package / "src").glob("mgnet_*")) for package in PACKAGES]
    first, _, rest = path.partition("/")
    places = [ROOT, document.parent, *PACKAGES, *(source.parent for source in sources), *sources, ROOT / "leaderboard/results"]
    short = [source / rest for source in sources if source.name == f"mgnet_{first}"]
    return any(place.exists() for place in [*(place / path for place in places), *short])


def _tree() -> Iterator[Path]:
    """The paths of the tree: a line is `paths  # comment`, four spaces deeper than its folder; files that the comment of a
    folder names are in that folder."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").split("## File structure")[1]
    (block, *_) = re.findall(r"```\n(.*?)```", text, re.DOTALL)
    folders: list[Path] = []  # the folder at each depth
    last = Path()
    for line in block.splitlines():
        names, _, comment = line.partition("#")
        if names.strip():
            depth = (len(names) - len(names.lstrip())) // 4
            parent = folders[depth - 1] if depth else Path()
            paths = [parent / name for name in names.split()]
            yield from paths
            folders[depth:] = [paths[0]]
            last = paths[0]
        if not (ROOT / last).is_file():
            yield from (_below(last, name) for name in re.findall(r"\b[\w/-]+\.(?:py|c|sh)\b", comment))


def _below(folder: Path, name: str) -> Path:
    """A file that a comment names: in the folder, or in one of its folders that the same comment names."""
    found = [path.relative_to(ROOT) for path in (ROOT / folder).rglob(name)] if (ROOT / folder).is_dir() else []
    return found[0] if len(found) == 1 else folder / name
