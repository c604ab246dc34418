"""A contribution as git has it: which files it changes, and their content. Objects are read; nothing is checked out.

A check-out or an archive would follow `.gitattributes`, links and submodules, which a contributor can write.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from mgnet_leaderboard.store.contribution import check_contribution
from mgnet_records.errors import InputError, shown
from mgnet_records.strict_json import RECORD_LIMIT

RESULTS = "leaderboard/results"
PLAIN_FILE = "100644"
# What a contribution may add or change. Lower-case ASCII: no two such names are one on any file system.
MEASURED_PLACE = re.compile(rb"leaderboard/results/measured/[a-z0-9][a-z0-9_.-]{0,249}\.json")
# What the folder of results has in all.
PLACE = re.compile(rb"leaderboard/results/(?:(?:claims|demo|measured|verified)/[a-z0-9][a-z0-9_.-]{0,249}|schema)\.json")
# More files are no contribution of results; the check of so many would take minutes.
MOST_FILES = 1_000
_KINDS = {"120000": "a link", "160000": "a submodule", "100755": "an executable file", "040000": "a folder"}
_NONE = "000000"


@dataclass(frozen=True, kw_only=True)
class Change:
    """One path that differs between two commits, and its mode in the second; `_NONE` where it is not there."""

    path: bytes
    new_mode: str


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One file of a commit: its mode, its object, and how many bytes it has; 0 for what is no blob."""

    path: bytes
    mode: str
    blob: str
    size: int


def check_commit(repository: Path, *, base: str, head: str) -> list[str]:
    """One line for each record that `head` changes against `base`, both commits of the repository.

    Raises InputError for a change that a contributor cannot make: of anything but measured records, which are plain files.
    """
    changes = _changes(repository, base, head)
    for change in changes:
        _require_record(change)
    if len(changes) > MOST_FILES:
        raise InputError(f"changes {len(changes)} records; contribute at most {MOST_FILES} at once")
    with TemporaryDirectory(prefix="mgnet-contribution-") as folder:
        before, after = Path(folder) / "base", Path(folder) / "head"
        _write(repository, base, before)
        _write(repository, head, after)
        return check_contribution(after / RESULTS, before / RESULTS)


def _changes(repository: Path, base: str, head: str) -> list[Change]:
    # -z: names as they are; --no-renames: a renamed file is one removed and one new.
    fields = _git(repository, "diff-tree", "-r", "-z", "--raw", "--no-renames", "--no-abbrev", base, head).split(b"\0")
    found = []
    for about, path in zip(fields[:-1:2], fields[1::2], strict=True):
        found.append(Change(path=path, new_mode=about.decode("ascii").split(" ")[1]))
    return found


def _require_record(change: Change) -> None:
    name = _name(change.path)
    if MEASURED_PLACE.fullmatch(change.path) is None:
        raise InputError(f"{name}: is no record; a contribution of results changes .json files in {RESULTS}/measured alone")
    if change.new_mode == _NONE:
        raise InputError(f"{name}: is in the base branch and is missing here; records are never removed")
    _require_plain(change.new_mode, name)


def _require_plain(mode: str, name: str) -> None:
    if mode != PLAIN_FILE:
        raise InputError(f"{name}: is {_KINDS.get(mode, f'of mode {mode}')}; a record is a plain file of mode {PLAIN_FILE}")


def _write(repository: Path, commit: str, into: Path) -> None:
    """The records of a commit as files."""
    entries = list(_entries(repository, commit))
    seen: set[bytes] = set()
    for entry in entries:
        name = _name(entry.path)
        if entry.path in seen:
            raise InputError(f"{name}: stands twice in the tree of the commit; write the commit again with git")
        seen.add(entry.path)
        _require_plain(entry.mode, name)
        if PLACE.fullmatch(entry.path) is None:
            raise InputError(f"{name}: is no record; {RESULTS} holds folders of .json files")
        if entry.size > RECORD_LIMIT:
            raise InputError(f"{name}: larger than {RECORD_LIMIT} bytes, the limit of all records; give another file")
    contents = _blobs(repository, [entry.blob for entry in entries])
    for entry in entries:
        path = into / entry.path.decode("ascii")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(contents[entry.blob])


def _entries(repository: Path, commit: str) -> Iterator[Entry]:
    for line in _git(repository, "ls-tree", "-r", "-z", "-l", "--full-tree", commit, f"{RESULTS}/").split(b"\0")[:-1]:
        about, _, path = line.partition(b"\t")
        mode, _, blob, size = about.decode("ascii").split()
        yield Entry(path=path, mode=mode, blob=blob, size=int(size) if size.isdigit() else 0)


def _blobs(repository: Path, names: Sequence[str]) -> dict[str, bytes]:
    """The content of each object, by its name."""
    answer = _git(repository, "cat-file", "--batch", given="".join(f"{name}\n" for name in names).encode())
    found, start = {}, 0
    for name in names:
        end = answer.index(b"\n", start)
        _, _, size = answer[start:end].rpartition(b" ")
        if not size.isdigit():
            raise InputError(f"object {name} of the commit is not in the repository; fetch the pull request again")
        found[name] = answer[end + 1 : end + 1 + int(size)]
        start = end + 2 + int(size)
    return found


def _git(repository: Path, *arguments: str, given: bytes = b"") -> bytes:
    try:
        done = subprocess.run(
            ["git", "--no-replace-objects", "-C", str(repository), *arguments], input=given, capture_output=True, check=False
        )
    except OSError as error:
        raise InputError(f"git cannot be started: {error.strerror}; install git") from None
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "backslashreplace").strip().splitlines() or ["no reason given"]
        raise InputError(f"git {arguments[0]} in {repository}: {said[-1]}; give a repository that has both commits, whole")
    return done.stdout


def _name(path: bytes) -> str:
    """A path for a message, with every byte that is no printable ASCII escaped."""
    return shown(path.decode("ascii", "backslashreplace"), 200).strip("'\"")
