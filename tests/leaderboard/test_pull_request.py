"""A pull request is judged by its git objects: nothing in a tree hides a record, and no record brings anything else along."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from leaderboard.git_trees import Forge, TreeFile, files_of
from mgnet_leaderboard.cli import main
from mgnet_leaderboard.records.measured import Measured
from mgnet_leaderboard.records.union import path_of, text_of

MEASURED = b"leaderboard/results/measured/"


@pytest.fixture
def forge(tmp_path: Path, results: Path) -> Forge:
    return Forge(tmp_path / "forge", files_of(results))


@pytest.fixture
def record(measured: Callable[..., Measured]) -> TreeFile:
    """A sound contribution of one run."""
    made = measured((359,), contributor="someone", series="new", model="mgnet_2_2_c64_bl")
    return TreeFile(b"leaderboard/results/" + path_of(made).encode(), text_of(made).encode())


@pytest.fixture
def judged(forge: Forge, capsys: pytest.CaptureFixture[str]) -> Callable[[list[TreeFile]], tuple[int, str, str]]:
    """Check a pull request with exactly these files, within this process; exit code, output, error."""

    def judge(files: list[TreeFile]) -> tuple[int, str, str]:
        commit = forge.contribute(files)
        capsys.readouterr()
        code = main(["check-commit", str(forge.origin.folder), "--base", forge.base, "--head", commit])
        said = capsys.readouterr()
        return code, said.out, said.err

    return judge


Judged = Callable[[list[TreeFile]], tuple[int, str, str]]


def test_a_sound_record_passes_and_is_summed_up(forge: Forge, judged: Judged, record: TreeFile) -> None:
    code, out, err = judged([*forge.base_files, record])
    assert (code, err) == (0, "")
    assert out.startswith("new: measured/mgnet_2_2_c64_bl-digits-")
    assert judged(forge.base_files)[:2] == (0, "no record differs from the base branch\n")


def beside(path: bytes, content: bytes = b"{}", mode: bytes = b"100644") -> Callable[[TreeFile], list[TreeFile]]:
    """The sound record and one file more."""
    return lambda record: [record, TreeFile(path, content, mode)]


def in_place(change: Callable[[bytes], bytes] = bytes, mode: bytes = b"100644") -> Callable[[TreeFile], list[TreeFile]]:
    """The record with other content or another mode."""
    return lambda record: [TreeFile(record.path, change(record.content), mode)]


def named(name: bytes) -> Callable[[TreeFile], list[TreeFile]]:
    """The record under another name in its folder."""
    return lambda record: [TreeFile(MEASURED + name, record.content)]


def with_value(old: bytes, new: bytes) -> Callable[[TreeFile], list[TreeFile]]:
    def change(content: bytes) -> bytes:
        assert old in content
        return content.replace(old, new, 1)

    return in_place(change)


IGNORE = b"*.json export-ignore\nmgnet_2_2_c64* -diff binary\n"
COMMIT = b"0123456789abcdef0123456789abcdef01234567"
ATTACKS: dict[str, tuple[Callable[[TreeFile], list[TreeFile]], str]] = {
    "attributes in the results": (beside(b"leaderboard/results/.gitattributes", IGNORE), "is no record"),
    "attributes in measured": (beside(MEASURED + b".gitattributes", IGNORE), "is no record"),
    "attributes at the top": (beside(b".gitattributes", IGNORE), ".gitattributes: is no record"),
    "a submodule": (beside(MEASURED + b"a.json", COMMIT, b"160000"), "a.json: is a submodule"),
    "a submodule in the place of a record": (lambda r: [TreeFile(r.path, COMMIT, b"160000")], "is a submodule"),
    "gitmodules": (beside(b".gitmodules", b'[submodule "a"]\n\tpath = a\n\turl = ../x\n'), ".gitmodules: is no record"),
    "a link": (beside(MEASURED + b"a.json", b"/etc/hostname", b"120000"), "a.json: is a link"),
    "a link to a record": (lambda r: [r, TreeFile(MEASURED + b"a.json", r.path, b"120000")], "a.json: is a link"),
    "an executable record": (in_place(mode=b"100755"), "is an executable file"),
    "code beside": (beside(b"setup.py", b"print(1)"), "setup.py: is no record"),
    "code in measured": (beside(MEASURED + b"conftest.py", b"print(1)"), "conftest.py: is no record"),
    "a nested folder": (named(b"a/b.json"), "a/b.json: is no record"),
    "a folder with the name of a record": (beside(MEASURED + b"a.json/b.json"), "is no record"),
    "a twin in other letters": (lambda r: [r, TreeFile(r.path.replace(b"mgnet_2", b"MgNet_2"), r.content)], "is no record"),
    "a twin of the folder": (lambda r: [r, TreeFile(r.path.replace(b"measured", b"Measured"), r.content)], "is no record"),
    "a composed name": (named("\u00e9.json".encode()), "is no record"),
    "a decomposed name": (named("e\u0301.json".encode()), "is no record"),
    "a name that is not UTF-8": (named(b"a\xff\xfe.json"), "is no record"),
    "a name of two lines": (named(b"a\nnew: b.json"), "is no record"),
    "a name with quotes": (named(b"a\"b'c.json"), "is no record"),
    "a name with a space": (named(b"a b.json"), "is no record"),
    "a name that is an option": (named(b"-rf.json"), "is no record"),
    "a hidden name": (named(b".a.json"), "is no record"),
    "a long name": (named(b"a" * 251 + b".json"), "is no record"),
    "another suffix": (named(b"a.JSON"), "is no record"),
    "a name of another content": (named(b"a.json"), "this record belongs in"),
    "the same path twice": (lambda r: [r, TreeFile(r.path, b"{}")], "stands twice"),
    "a certificate": (beside(b"leaderboard/results/verified/a.json"), "verified/a.json: is no record"),
    "another schema": (lambda r: [r, TreeFile(b"leaderboard/results/schema2.json", b"{}")], "schema2.json: is no record"),
    "a large file": (in_place(lambda content: content + b" " * 2_000_000), "larger than"),
    "deep nesting": (in_place(lambda _: b"[" * 30_000), "not strict JSON"),
    "an empty file": (in_place(lambda _: b""), "not strict JSON"),
    "NaN": (with_value(b'"train_seconds": 7.25', b'"train_seconds": NaN'), "NaN is not a number"),
    "infinity": (with_value(b'"train_seconds": 7.25', b'"train_seconds": -Infinity'), "-Infinity is not a number"),
    "a number too large": (with_value(b'"train_seconds": 7.25', b'"train_seconds": 1e999'), "too large for a number"),
    "a number of 5,000 digits": (with_value(b'"seed": 0', b'"seed": 1' + b"0" * 5_000), "not strict JSON"),
    "a key twice": (with_value(b'"seed": 0', b'"seed": 1, "seed": 0'), "'seed' stands twice"),
    "a key twice, escaped": (with_value(b'"seed": 0', b'"se\\u0065d": 1, "seed": 0'), "'seed' stands twice"),
    "a lone surrogate": (with_value(b'"os": "Linux"', b'"os": "Li\\ud800nux"'), ""),
    "a byte that is not UTF-8": (with_value(b'"os": "Linux"', b'"os": "Li\xffnux"'), "is not UTF-8"),
    "a byte order mark": (in_place(lambda content: b"\xef\xbb\xbf" + content), "not strict JSON"),
    "a comment": (in_place(lambda content: content + b"// fine"), "not strict JSON"),
}


@pytest.mark.parametrize("attack, reason", ATTACKS.values(), ids=ATTACKS)
def test_what_is_no_plain_record_is_refused_in_one_line(
    forge: Forge, judged: Judged, record: TreeFile, attack: Callable[[TreeFile], list[TreeFile]], reason: str
) -> None:
    code, out, err = judged([*forge.base_files, *attack(record)])
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert err.rstrip("\n").isprintable()
    assert len(err) < 1_000
    assert reason in err, err


def test_a_record_of_the_base_branch_cannot_vanish_or_move(forge: Forge, judged: Judged) -> None:
    (old,) = [file for file in forge.base_files if file.path.startswith(MEASURED)]
    rest = [file for file in forge.base_files if file != old]
    assert "records are never removed" in judged(rest)[2]
    assert "records are never removed" in judged([*rest, TreeFile(MEASURED + b"zz.json", old.content)])[2]
    assert judged([*rest, TreeFile(b"leaderboard/results/measured", b"verified", b"120000")])[0] == 2
    assert judged([*rest, TreeFile(b"leaderboard/results/measured", COMMIT, b"160000")])[0] == 2
    assert judged([TreeFile(b"README.md", b"base\n")])[0] == 2


def test_more_records_than_anybody_contributes_are_refused_before_they_are_read(forge: Forge, judged: Judged) -> None:
    many = [TreeFile(MEASURED + f"a{i}.json".encode(), b"{}") for i in range(1_001)]
    assert "changes 1001 records; contribute at most 1000 at once" in judged([*forge.base_files, *many])[2]


@pytest.mark.parametrize("base, head", [("0" * 40, None), (None, "nothing"), (None, "-x"), (None, "HEAD^{blob}")])
def test_a_commit_that_is_none_is_one_line(
    forge: Forge, capsys: pytest.CaptureFixture[str], base: str | None, head: str | None
) -> None:
    arguments = ["check-commit", str(forge.origin.folder), f"--base={base or forge.base}", f"--head={head or forge.base}"]
    assert main(arguments) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    "name", ["a sound record", "the same path twice", "attributes in measured", "a name of two lines", "a git folder"]
)
def test_check_sh_says_the_same_of_what_it_fetches(forge: Forge, record: TreeFile, name: str) -> None:
    special = {"a sound record": [record], "a git folder": [record, TreeFile(MEASURED + b".git/config", b"[core]\n")]}
    forge.contribute([*forge.base_files, *(special[name] if name in special else ATTACKS[name][0](record))])
    done = forge.check()
    if name == "a sound record":
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout.startswith(b"new: measured/")
        return
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.count(b"\n") == 1
    assert done.stderr.decode().rstrip("\n").isprintable()


def test_a_pull_request_that_is_not_there_is_one_line(forge: Forge) -> None:
    done = forge.check("8")
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (2, b"", 1)
