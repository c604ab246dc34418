"""Fuzz targets of what others bring to the board: records, run folders, and trees of git.

Each is refused in one line, or taken; what is taken is on the page, and what a summary does not name is not taken.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from fuzz.framework import Refused, accepted, require_one_line, target
from fuzz.mutations import damaged, mutated
from fuzz.targets_records import RESULTS, sealed_measured, sealed_run
from leaderboard.git_trees import RESULTS as IN_GIT
from leaderboard.git_trees import Forge, TreeFile
from mgnet_leaderboard.records.measured import Measured
from mgnet_leaderboard.records.union import path_of
from mgnet_leaderboard.site.build import build
from mgnet_leaderboard.store.contribution import check_contribution
from mgnet_leaderboard.store.folder import read_results
from mgnet_leaderboard.store.ingest import ingest
from records import documents

MODEL = "mgnet_2_2_c32_bl"


@cache
def workshop() -> Path:
    """A folder of this process, with the base branch's results: one record of the model."""
    folder = Path(tempfile.mkdtemp(prefix="mgnet-fuzz-contribution-"))
    (folder / "base" / "measured").mkdir(parents=True)
    path = min((RESULTS / "measured").glob(f"{MODEL}-*.json"))
    shutil.copy(path, folder / "base" / "measured")
    return folder


def base_record() -> Any:
    """The record of the base branch as a JSON value."""
    (path,) = (workshop() / "base" / "measured").iterdir()
    return json.loads(path.read_text(encoding="utf-8"))


def contributed() -> Any:
    """A sound contribution: a run of the same model by somebody."""
    content = base_record()
    content["contributor"] = "someone"
    content["runs"] = [{**content["runs"][0], "run_id": "7" * 32, "checkpoint_sha256": "7" * 64}]
    return sealed_measured(content)


def require_shown(results: Path, records: Path) -> None:
    """Build the site of both folders; each measured record of both must be on the page of its model."""
    out = workshop() / "site"
    build(results, records, out)
    for folder, committed in ((results, True), (records, False)):
        for record in read_results(folder, committed=committed) if folder.is_dir() else ():
            if isinstance(record, Measured):
                page = (out / "model" / f"{record.model}.html").read_text(encoding="utf-8")
                assert f'<section id="{record.id}"' in page, f"{path_of(record)} is not on the page"
                assert all(run.run_id[:8] in page for run in record.runs)


@target(damaged(mutated([contributed(), base_record()], sealed_measured)), quick=15, nightly=10_000)
def contributed_record(content: bytes) -> None:
    """One record more, at its place: named in the summary and shown, or refused."""
    head = workshop() / "head"
    shutil.rmtree(head, ignore_errors=True)
    shutil.copytree(workshop() / "base", head)
    try:
        made = json.loads(content)
        place = f"measured/{made['model']}-{made['dataset']['name']}-{made['id']}.json"
        (head / place).write_bytes(content)
    except (ValueError, KeyError, TypeError, OSError, RecursionError):
        place = "measured/a.json"
        (head / place).write_bytes(content)
    lines = accepted(lambda: check_contribution(head, workshop() / "base"))
    same = (head / place).read_bytes() == next((workshop() / "base" / "measured").iterdir()).read_bytes()
    assert same or any(place in line for line in lines) or _equal_to_base(head)
    require_shown(head, workshop() / "none")


def _equal_to_base(head: Path) -> bool:
    return read_results(head, committed=True) == read_results(workshop() / "base", committed=True)


KINDS_OF_FILE = ("file", "file", "file", "folder", "link", "nothing", "dangling link")


@st.composite
def run_folders(draw: st.DrawFn) -> Any:
    """Up to three run folders: name of the file, what it is, and its content."""
    results = damaged(mutated([documents.run_result()], sealed_run))
    others = damaged(mutated([documents.certificate(), {"run_id": "0" * 32}, {}]))
    folders = []
    for _ in range(draw(st.integers(1, 3))):
        files = [["result.json", draw(st.sampled_from(KINDS_OF_FILE)), draw(results).decode("latin-1")]]
        for name in draw(st.lists(st.sampled_from(("certificate.json", "config.json", "mlflow.json", "notes.txt")), unique=True)):
            files.append([name, draw(st.sampled_from(KINDS_OF_FILE)), draw(others).decode("latin-1")])
        folders.append(files)
    return folders


@target(run_folders(), form="json", quick=15, nightly=10_000)
def result_folders(folders: list[list[list[str]]]) -> None:
    """Each run folder becomes a run of a record, or is left out with its reason; the site of the records has all of them."""
    runs, records = workshop() / "runs", workshop() / "records"
    for old in (runs, records):
        shutil.rmtree(old, ignore_errors=True)
    for number, files in enumerate(folders):
        for name, kind, content in files:
            _make(runs / f"run{number}" / name, kind, content.encode("latin-1"))
    done = accepted(lambda: ingest([runs], records))
    for line in done.left_out:
        require_one_line(line)
    taken = [
        run.run_id
        for record in (read_results(records, committed=False) if records.is_dir() else ())
        if isinstance(record, Measured)
        for run in record.runs
    ]
    for number in range(len(folders)):
        seen = any(f"/run{number}" in line for line in done.left_out)
        path = runs / f"run{number}" / "result.json"
        is_run = any((path.parent / name).exists() or (path.parent / name).is_symlink() for name in ("result.json", "config.json"))
        assert seen or not is_run or json.loads(path.read_bytes())["run_id"] in taken, f"run{number} is nowhere"
    require_shown(workshop() / "base", records)
    if not taken:
        raise Refused("no run was taken")


def _make(path: Path, kind: str, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    match kind:
        case "file":
            path.write_bytes(content)
        case "folder":
            path.mkdir()
        case "link":
            path.symlink_to(next((workshop() / "base" / "measured").iterdir()))
        case "dangling link":
            path.symlink_to("nowhere")


@cache
def forge() -> Forge:
    """A host with the base branch, and a checker's clone of it."""
    (path,) = (workshop() / "base" / "measured").iterdir()
    file = TreeFile(IN_GIT + b"/measured/" + path.name.encode(), path.read_bytes())
    return Forge(workshop() / "forge", [file, TreeFile(IN_GIT + b"/schema.json", b"{}\n")])


GOOD_NAME = f"measured/{MODEL}-digits-{contributed()['id']}.json"
FOLDERS = ("measured/", "measured/", "measured/", "verified/", "claims/", "", "Measured/", "../../", "measured/a/")
NAMES = (
    *("a.json", ".gitattributes", ".gitmodules", ".git", ".GIT", "git~1", "..", ".", "", "a b.json", "a\nb.json", 'a"b.json'),
    *(
        "\xe9.json",
        "\xff\xfe.json",
        "e\xcc\x81.json",
        "-rf",
        "$(id).json",
        "conftest.py",
        "a" * 300,
        "A.json",
        "a.JSON",
        "\u202e".encode().decode("latin-1"),
    ),
)
MODES = ("100644", "100644", "100644", "100755", "120000", "160000", "100664", "40000", "0", "777", "100645")
ATTRIBUTES = "* export-ignore -diff binary filter=x\n"


@st.composite
def trees(draw: st.DrawFn) -> Any:
    """Files added to the base's, as (path, mode, content) in Latin-1; and how many of the base's files are left out."""
    records = damaged(mutated([contributed()], sealed_measured))
    good = json.dumps(contributed())
    added = []
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.sampled_from((GOOD_NAME, GOOD_NAME, None)))
        if place is None:
            place = draw(st.sampled_from(FOLDERS)) + draw(st.sampled_from(NAMES))
        content = draw(
            st.one_of(st.just(good), st.sampled_from((ATTRIBUTES, "", "/etc/hostname")), records.map(lambda b: b.decode("latin-1")))
        )
        mode = draw(st.sampled_from(MODES))
        top = "" if draw(st.integers(0, 7)) == 0 else "leaderboard/results/"
        added.append([top + place, mode, "0123456789abcdef" * 2 + "01234567" if mode == "160000" else content])
    return [added, draw(st.sampled_from((0, 0, 0, 0, 1, 2, 3)))]


@target(trees(), form="json", quick=4, nightly=2_000)
def git_trees(tree: tuple[list[list[str]], int]) -> None:
    """A pull request through check.sh: every path that it changes is named in the summary, or it is refused in one line."""
    added, dropped = tree
    host = forge()
    files = [TreeFile(path.encode("latin-1"), content.encode("latin-1"), mode.encode()) for path, mode, content in added]
    names = {file.path for file in files}
    kept = [file for file in host.base_files[: len(host.base_files) - dropped] if file.path not in names]
    host.contribute([*kept, *files])
    done = host.check()
    host.forget()
    if done.returncode == 2:
        assert done.stdout == b"", done.stdout
        require_one_line(done.stderr.decode().removesuffix("\n"))
        raise Refused(done.stderr.decode())
    assert (done.returncode, done.stderr) == (0, b""), done
    assert dropped == 0
    before = {file.path: (file.mode, file.content) for file in host.base_files}
    changed = {file.path for file in files if before.get(file.path) != (file.mode, file.content)}
    for path in changed:
        assert path.startswith(IN_GIT + b"/measured/")
        assert path.removeprefix(IN_GIT + b"/").decode() in done.stdout.decode(), f"{path!r} is hidden"
