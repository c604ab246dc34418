"""Any one file of a run folder damaged in any way: the run goes on exactly, or one line says what to do and nothing is lost."""

from __future__ import annotations

import ctypes
import itertools
import json
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from mgnet_records.errors import InputError
from mgnet_records.provenance import UNKNOWN
from mgnet_train import Options, RunSpec, fit, make_spec, start_processes
from mgnet_train.cli.main import main
from mgnet_train.errors import StoppedError
from mgnet_train.runs.folder import read_config
from mgnet_train.runs.journal import IS_EXACT, JOURNAL, Record, read_records
from mgnet_train.train import trainer
from train.damages import DAMAGES, NOBODY

FinalState = Callable[[Path], object]
STOPPED = ("config.json", "journal.jsonl", "last.ckpt", "lock", "previous.ckpt", "state.json")
FINISHED = (*STOPPED, "confusion.json", "model.safetensors", "result.json")
CASES = [
    (kind, file, damage) for kind, files in (("stopped", STOPPED), ("finished", FINISHED)) for file in files for damage in DAMAGES
]
# Made anew by every start, or no longer needed by a finished run: any content will do.
_NO_EVIDENCE = {"lock", "state.json", "last.ckpt", "previous.ckpt"}


def _sample(cases: list[Any]) -> list[Any]:
    """One damage of each kind and each file at least once; the others are nightly."""
    damages = itertools.cycle(DAMAGES)
    chosen, seen = set(), set()
    for case in cases:
        if case[:2] not in seen:
            seen.add(case[:2])
            chosen.add((*case[:2], next(damages)))
    for damage in damages:
        if all(damage != one[2] for one in chosen):
            chosen.add(("stopped", "last.ckpt", damage))
        elif len(chosen) >= len(DAMAGES):
            break
    chosen |= {
        ("stopped", "journal.jsonl", "middle byte"),
        ("stopped", "config.json", "deleted"),
        ("finished", "result.json", "pipe"),
    }
    return [pytest.param(*case, id="-".join(case), marks=[] if case in chosen else [pytest.mark.nightly]) for case in cases]


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Run folders to copy: `stopped` in the middle of an epoch, `finished`, and `other`, a finished run of another seed."""

    spec: RunSpec
    options: Options
    folders: dict[str, Path]


@pytest.fixture(scope="module")
def prepared() -> Iterator[Prepared]:
    place = Path(tempfile.mkdtemp(prefix="mgnet-damage-"))  # open for the user who must not read some files
    place.chmod(0o755)
    options = Options(track="later", quiet=True, log_every=1, checkpoint_seconds=0.0)
    specs = [
        make_spec("MgNet[1,1]-[4]-B^l", dataset="digits", overrides={"epochs": "2", "batch_size": "400"}, seed=seed, code=UNKNOWN)
        for seed in range(2)
    ]
    processes = start_processes("cpu")
    stopped, other = (_stopped(spec, replace(options, runs=place / "stopped")) for spec in specs)
    finished = fit(specs[0], replace(options, runs=place / "finished"), processes).folder
    folders = {"stopped": stopped, "finished": finished, "other": other}
    yield Prepared(spec=specs[0], options=options, folders=folders)
    shutil.rmtree(place)


def _stopped(spec: RunSpec, options: Options) -> Path:
    step = trainer.train_step

    def stopping(*arguments: Any, **named: Any) -> None:
        if named["step"] == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        step(*arguments, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "train_step", stopping)
        with pytest.raises(StoppedError, match="saved"):
            fit(spec, options, start_processes("cpu"))
    return options.runs / spec.folder_name


@pytest.fixture
def runs() -> Iterator[Path]:
    place = Path(tempfile.mkdtemp(prefix="mgnet-damage-"))
    place.chmod(0o755)
    yield place / "runs"
    shutil.rmtree(place)


@contextmanager
def _as_nobody(runs: Path) -> Iterator[None]:
    """File accesses of this thread are those of a user who owns all but what root keeps for itself."""
    if os.geteuid() != 0:
        pytest.skip("a user cannot give files away; root tests this")
    system = ctypes.CDLL(None)
    system.setfsgid(NOBODY)
    system.setfsuid(NOBODY)
    try:
        yield
    finally:
        system.setfsuid(0)
        system.setfsgid(0)


def _damaged(prepared: Prepared, runs: Path, kind: str, file: str, damage: str) -> tuple[Path, Any]:
    """A copy of a run folder with one damaged file, and the context in which the damage is felt."""
    folder = runs / prepared.spec.folder_name
    shutil.copytree(prepared.folders[kind], folder)
    closed = damage in ("unreadable", "wrong owner")
    if closed and os.geteuid() == 0:
        for path in (runs, folder, *folder.iterdir()):
            os.chown(path, NOBODY, NOBODY)
    try:
        DAMAGES[damage](folder / file, prepared.folders["other"])
    except PermissionError:
        pytest.skip(f"the system does not let us make: {damage}")
    return folder, _as_nobody(runs) if closed else nullcontext()


def _contents(folder: Path, but: str) -> dict[str, object]:
    """Every file but one, to the byte."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name not in (but, "lock") and path.is_file()}


def _mend(prepared: Prepared, kind: str, path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    path.unlink(missing_ok=True)
    shutil.copyfile(prepared.folders[kind] / path.name, path)


@pytest.mark.parametrize(("kind", "file", "damage"), _sample(CASES))
def test_a_run_with_a_damaged_file_goes_on_exactly_or_says_what_to_do_and_loses_nothing(
    prepared: Prepared, runs: Path, final_state: FinalState, kind: str, file: str, damage: str
) -> None:
    folder, context = _damaged(prepared, runs, kind, file, damage)
    options, before = replace(prepared.options, runs=runs), _contents(folder, file)
    refused = None
    with context:
        try:
            fit(prepared.spec, options, start_processes("cpu"))
        except InputError as error:
            refused = str(error)
    if refused is not None:
        assert str(folder / file) in refused or file in refused
        assert refused.count("\n") == 0
        assert "restore" in refused or "move" in refused or "delete" in refused
        assert _contents(folder, file) == before
        _mend(prepared, kind, folder / file)
        fit(prepared.spec, options, start_processes("cpu"))
    assert final_state(folder) == final_state(prepared.folders["finished"])
    assert read_config(folder)["run_id"] == read_config(prepared.folders[kind])["run_id"]
    ends = [record for record in read_records(folder / JOURNAL, 0)[0] if record.kind == "end"]
    assert ends[-1].status == "FINISHED"
    if file == JOURNAL and any(folder.glob("journal.corrupt*")) and ends[-1] != _last(prepared.folders[kind]):
        assert IS_EXACT not in ends[-1].metrics  # what was written before could not be compared
    if kind == "finished" and refused is None and file not in _NO_EVIDENCE:
        untouched = prepared.folders["finished"]
        if file == JOURNAL:
            assert read_records(folder / JOURNAL, 0)[0][:-1] == read_records(untouched / JOURNAL, 0)[0][:-1]
        elif file.endswith(".json"):
            documents = [json.loads((place / file).read_text()) for place in (folder, untouched)]
            assert documents[0] | {"finished": ""} == documents[1] | {"finished": ""}
        else:
            assert (folder / file).read_bytes() == (untouched / file).read_bytes()


def _last(folder: Path) -> Record:
    return read_records(folder / JOURNAL, 0)[0][-1]


@pytest.mark.parametrize(("kind", "file", "damage"), _sample(CASES))
def test_commands_that_read_a_damaged_run_say_so_in_one_line_and_change_nothing(
    prepared: Prepared, runs: Path, capsys: pytest.CaptureFixture[str], kind: str, file: str, damage: str
) -> None:
    folder, context = _damaged(prepared, runs, kind, file, damage)
    good = runs / "good"
    shutil.copytree(prepared.folders["finished"], good)
    before = _contents(folder, file)
    for command in (["status", "--runs", str(runs)], ["evaluate", str(folder), "--device", "cpu"]):
        with context if command[0] == "status" else nullcontext():
            code = main(command)
        printed = capsys.readouterr()
        assert code in (0, 1, 2)
        assert printed.err.count("\n") == (code == 2)
        if command[0] == "status":
            lines = {line.split()[1]: line for line in printed.out.splitlines()}
            assert set(lines) == {"good", folder.name}
            assert lines["good"].startswith("finished")
            assert code == lines[folder.name].startswith("damaged")
    assert _contents(folder, file) == before


@pytest.mark.parametrize("file", ["result.json", "model.safetensors", "config.json", "confusion.json", "journal.jsonl"])
def test_an_edited_file_of_a_finished_run_is_noticed(prepared: Prepared, runs: Path, file: str) -> None:
    """A digit that becomes another one leaves every document valid."""
    folder = runs / prepared.spec.folder_name
    shutil.copytree(prepared.folders["finished"], folder)
    content = (folder / file).read_bytes()
    place = max(content.rfind(digit) for digit in (b"1", b"2", b"3"))
    changed = content[:place] + b"7" + content[place + 1 :]
    (folder / file).write_bytes(changed)
    refused = ""
    try:
        fit(prepared.spec, replace(prepared.options, runs=runs), start_processes("cpu"))
    except InputError as error:
        refused = str(error)
    is_kept = any(path.read_bytes() == changed for path in folder.glob("*.corrupt"))
    assert is_kept or (f"{file} was changed" in refused)


def test_results_that_are_moved_away_are_written_again_from_the_last_checkpoint(
    prepared: Prepared, runs: Path, final_state: FinalState
) -> None:
    """What the line about a damaged result advises."""
    folder = runs / prepared.spec.folder_name
    shutil.copytree(prepared.folders["finished"], folder)
    for name in ("result.json", "model.safetensors", "confusion.json"):
        (folder / name).unlink()
    fit(prepared.spec, replace(prepared.options, runs=runs), start_processes("cpu"))
    assert final_state(folder) == final_state(prepared.folders["finished"])
    results = [json.loads((one / "result.json").read_text()) for one in (folder, prepared.folders["finished"])]
    assert results[0] | {"finished": ""} == results[1] | {"finished": ""}
    assert (folder / "confusion.json").read_bytes() == (prepared.folders["finished"] / "confusion.json").read_bytes()


@pytest.mark.parametrize("make", ["file", "dangling link", "pipe"])
def test_something_else_in_the_place_of_the_run_folder_is_rejected(prepared: Prepared, runs: Path, make: str) -> None:
    runs.mkdir()
    place = runs / prepared.spec.folder_name
    {"file": place.touch, "dangling link": lambda: place.symlink_to("nowhere"), "pipe": lambda: os.mkfifo(place)}[make]()
    with pytest.raises(InputError, match=r"cannot be made a folder .*: move it away"):
        fit(prepared.spec, replace(prepared.options, runs=runs), start_processes("cpu"))
    with suppress(OSError):
        place.unlink()
    fit(prepared.spec, replace(prepared.options, runs=runs), start_processes("cpu"))
