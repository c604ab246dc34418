"""Commits made of raw objects: trees that git's own commands would not write, as an attacker can send them."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

CHECK = Path(__file__).resolve().parents[2] / "ci" / "workflows" / "contribution" / "check.sh"
RESULTS = b"leaderboard/results"


@dataclass(frozen=True)
class TreeFile:
    """A file of a tree: its path, its mode and its content; for a submodule (160000) the content is the commit's name."""

    path: bytes
    content: bytes
    mode: bytes = b"100644"


class Repository:
    """A bare repository that is written object by object, without git."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", str(folder)], check=True)

    def write(self, kind: str, content: bytes) -> bytes:
        """Add an object; its name in binary."""
        whole = f"{kind} {len(content)}\0".encode() + content
        digest = hashlib.sha1(whole)
        name = digest.hexdigest()
        path = self.folder / "objects" / name[:2] / name[2:]
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(zlib.compress(whole, 1))
        return digest.digest()

    def tree(self, files: Iterable[TreeFile]) -> bytes:
        """A tree of the files, and the trees in it; a path that stands twice is written twice."""
        entries: list[tuple[bytes, bytes, bytes]] = []
        folders: dict[bytes, list[TreeFile]] = {}
        for file in files:
            top, slash, rest = file.path.partition(b"/")
            if slash:
                folders.setdefault(top, []).append(TreeFile(rest, file.content, file.mode))
            elif file.mode == b"160000":
                entries.append((file.path, file.mode, bytes.fromhex(file.content.decode())))
            else:
                entries.append((file.path, file.mode, self.write("blob", file.content)))
        entries += [(name, b"40000", self.tree(inside)) for name, inside in folders.items()]
        entries.sort(key=lambda entry: entry[0] + (b"/" if entry[1] == b"40000" else b""))
        return self.write("tree", b"".join(mode + b" " + name + b"\0" + digest for name, mode, digest in entries))

    def commit(self, files: Iterable[TreeFile], parent: str | None = None) -> str:
        """A commit of exactly these files."""
        lines = [f"tree {self.tree(files).hex()}", *([f"parent {parent}"] if parent else [])]
        lines += [f"{who} a <a@b.example> 1700000000 +0000" for who in ("author", "committer")]
        return self.write("commit", "\n".join([*lines, "", "message", ""]).encode()).hex()

    def refer(self, reference: str, commit: str) -> None:
        """Let a reference name a commit."""
        path = self.folder / reference
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(commit + "\n", encoding="ascii")


def files_of(folder: Path) -> list[TreeFile]:
    """The files of a results folder, where a repository has them."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return [TreeFile(RESULTS + b"/" + path.relative_to(folder).as_posix().encode(), path.read_bytes()) for path in paths]


class Forge:
    """A host with a base branch, and a checker's folder with its clone `base`."""

    def __init__(self, folder: Path, base: list[TreeFile]) -> None:
        self.folder = folder
        self.origin = Repository(folder / "origin")
        self.base_files = [TreeFile(b"README.md", b"base\n"), *base]
        self.base = self.origin.commit(self.base_files)
        self.origin.refer("refs/heads/main", self.base)
        subprocess.run(["git", "clone", "--quiet", "--bare", str(self.origin.folder), str(folder / "base")], check=True)
        self.validator = folder / "validator"
        self.validator.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m mgnet_leaderboard "$@"\n', encoding="utf-8")
        self.validator.chmod(0o755)

    def contribute(self, files: Iterable[TreeFile]) -> str:
        """A pull request number 7 that has exactly these files."""
        commit = self.origin.commit(files, parent=self.base)
        self.origin.refer("refs/pull/7/merge", commit)
        return commit

    def check(self, number: str = "7") -> subprocess.CompletedProcess[bytes]:
        """What check.sh says; the summary is its standard output."""
        environment = {
            "PATH": "/usr/bin:/bin:/usr/local/bin",
            "BASE": self.base,
            "NUMBER": number,
            "VALIDATOR": str(self.validator),
        }
        return subprocess.run(["sh", str(CHECK)], cwd=self.folder, env=environment, capture_output=True, check=False)

    def forget(self) -> None:
        """Drop what pull requests brought, so that thousands of them can be tried."""
        for repository in (self.origin.folder, self.folder / "base"):
            shutil.rmtree(repository / "refs" / "pull", ignore_errors=True)
