"""Fuzz targets of a run folder: config.json, the journal, its offset file, a checkpoint, result.json and the lock."""

from __future__ import annotations

import hashlib
import json
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import torch
from hypothesis import strategies as st

from fuzz.framework import accepted, require_one_line, target
from fuzz.mutations import mutated, text_of
from mgnet_records.canonical import sha256_of
from mgnet_records.run_result import RESULT_FILE
from mgnet_train.errors import BusyError
from mgnet_train.runs.checkpoint import Checkpoints
from mgnet_train.runs.folder import CONFIG, LAST, read_config, write_config
from mgnet_train.runs.integrity import finished_fault
from mgnet_train.runs.journal import JOURNAL, Journal, Record, read_records
from mgnet_train.runs.lock import LOCK, FolderLock, is_locked
from mgnet_train.runs.result import read_result
from mgnet_train.tracking.uploader import OFFSET, read_sent, unsent
from records import documents

IDENTITY = "5" * 64


def _config() -> dict[str, Any]:
    result = documents.run_result()
    return {
        "schema_version": 3,
        "identity": IDENTITY,
        **{name: result[name] for name in ("run_id", "model", "model_args", "notation", "parameters", "seed", "commit", "dirty")},
        **{name: result[name] for name in ("execution", "environment", "started")},
        "dataset": "digits",
        "entry": "mgnet",
        "recipe": result["recipe"]["values"],
        "recipe_sha256": result["recipe"]["sha256"],
        "data": {"name": "digits", "sha256": "4" * 64, "contents_sha256": None, "train_images": 1437, "test_images": 360},
        "started_ms": 1_700_000_000_000,
    }


@cache
def run() -> Path:
    """A run folder with every file that is read again, written once by this process."""
    folder = Path(tempfile.mkdtemp(prefix="mgnet-fuzz-run-"))
    write_config(folder, _config())
    journal = Journal(folder, clock=lambda: 1_700_000_000_000)
    for step in range(6):
        journal.log("step", step, {"train/step_loss": 1 / (step + 1), "train/lr": 0.1})
    journal.log("epoch", 1, {"test/loss": 0.25})
    journal.end("KILLED", is_exact=True)
    journal.close()
    Checkpoints(folder, IDENTITY).save({"epoch": 1, "weights": torch.arange(8.0)})
    return folder


@cache
def _originals() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in run().iterdir()}


def original(name: str) -> bytes:
    """A file of the run as it was written."""
    return _originals()[name]


@st.composite
def changed(draw: st.DrawFn, name: str) -> bytes:
    """A file of the run with up to three pieces cut, changed, repeated, put in or exchanged; at times any bytes."""
    content = original(name)
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=300))
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(content)))
        end = min(len(content), start + draw(st.integers(0, 400)))
        piece = draw(
            st.one_of(
                st.binary(max_size=4),
                st.sampled_from(
                    (b"\n", b"\r", b"\x00", b"}\n", b"1", b"{}\n", content[start:end] * 2, content[end:], content[:start])
                ),
            )
        )
        content = content[:start] + piece + content[end:]
    return content


def _forged(config: dict[str, Any]) -> dict[str, Any]:
    return {**config, "sha256": sha256_of({key: value for key, value in config.items() if key != "sha256"})}


@target(st.one_of(changed(CONFIG), mutated([_config()], mend=_forged).map(text_of)), nightly=10_000)
def run_config(content: bytes) -> None:
    """A config that is accepted has its digest, and every field that readers of it use."""
    from mgnet_train.tracking.metadata import dataset, describe, parameters, tags

    sound = original(CONFIG)
    (run() / CONFIG).write_bytes(content)
    try:
        config = accepted(lambda: read_config(run()))
    finally:
        (run() / CONFIG).write_bytes(sound)
    assert _forged(config) == config
    for texts in (parameters(config), tags(config), dataset(config)):
        assert all(isinstance(text, str) for text in texts.values())
    assert describe(config)


@target(changed(JOURNAL), nightly=10_000)
def run_journal(content: bytes) -> None:
    """What is read of a damaged journal is the beginning of the sound one, and a start mends the file to that."""
    path, sound = run() / JOURNAL, read_sound()
    path.write_bytes(content)
    try:
        journal = Journal(run())
        journal.close()
        assert original(JOURNAL).startswith(path.read_bytes())
        assert read_records(path, 0)[0] == journal.records == sound[: len(journal.records)]
        assert content.startswith(path.read_bytes())
        if journal.mended is not None:
            require_one_line(journal.mended)
        path.write_bytes(content)
        records, end = accepted(lambda: read_records(path, 0))
        assert records == sound[: len(records)]
        assert end <= len(content)
    finally:
        for aside in run().glob("journal.corrupt*"):
            aside.unlink()
        path.write_bytes(original(JOURNAL))


@cache
def read_sound() -> list[Record]:
    """The records of the sound journal."""
    original(JOURNAL)
    return read_records(run() / JOURNAL, 0)[0]


@target(st.one_of(st.integers(-5, 3000), st.integers()), form="json", nightly=5_000)
def run_journal_offset(offset: int) -> None:
    """From any offset on, either the rest of the records is read or none."""
    sound = read_sound()
    records, end = accepted(lambda: read_records(run() / JOURNAL, offset))
    assert records == sound[len(sound) - len(records) :]
    assert end == len(original(JOURNAL))


@st.composite
def _offsets(draw: st.DrawFn) -> bytes:
    lines = original(JOURNAL).splitlines(keepends=True)
    count = draw(st.integers(0, len(lines)))
    end = sum(len(line) for line in lines[:count])
    digest = lines[count - 1][-19:-3].decode()
    sound = {"run_id": "0" * 32, "bytes": end, "digest": digest}
    other = draw(
        st.one_of(
            st.sampled_from([{"bytes": end + 1}, {"bytes": -end}, {"bytes": float(end)}, {"bytes": str(end)}, {"bytes": 10**30}]),
            st.sampled_from([{"digest": None}, {"digest": digest[::-1]}, {"run_id": 1}, {"run_id": None}, {}]),
        )
    )
    content = json.dumps(sound | other).encode()
    place = draw(st.integers(0, len(content)))
    return draw(
        st.sampled_from((content, content[:place] + b"1" + content[place + 1 :], content[:place], content + b"\n", b"\xff" * 5000))
    )


@target(_offsets(), nightly=5_000)
def run_offset_file(content: bytes) -> None:
    """The offset is one at which a line ends with the digest that the file says, or nothing was sent."""
    (run() / OFFSET).write_bytes(content)
    sent = read_sent(run())
    if sent is None:
        assert unsent(run())
        return
    line = original(JOURNAL)[: sent.bytes].splitlines()[-1]
    said = json.loads(content)
    assert (said["run_id"], said["bytes"]) == (sent.run_id, sent.bytes)
    assert json.loads(line)["digest"] == said["digest"]


@target(
    st.one_of(
        changed(LAST),
        # With a digest that is right, as of another program.
        changed(LAST).map(lambda content: content[:8] + hashlib.sha256(content[40:]).digest() + content[40:]),
    ),
    nightly=10_000,
)
def run_checkpoint(content: bytes) -> None:
    """A checkpoint is the one that was written, or is refused; nothing in it is executed."""
    path, sound = run() / LAST, original(LAST)
    path.write_bytes(content)
    try:
        state = accepted(lambda: Checkpoints(run(), IDENTITY).load())
    finally:
        path.write_bytes(sound)
    assert state is not None
    assert isinstance(state, dict)
    assert state["identity"] == IDENTITY


@target(mutated([documents.run_result()]).map(text_of), nightly=10_000)
def run_result_file(content: bytes) -> None:
    """A result is accepted only for the weights that are beside it."""
    path = run() / RESULT_FILE
    path.write_bytes(content)
    try:
        result = accepted(lambda: read_result(run()))
        assert result is not None
        fault = finished_fault(run(), result, weights=True)
        assert fault is not None
        require_one_line(fault)
    finally:
        path.unlink()


@target(
    st.one_of(st.binary(max_size=300), st.just(b"\xff" * 5000), st.text(max_size=100).map(lambda t: t.encode("utf-8", "replace"))),
)
def run_lock(content: bytes) -> None:
    """Whatever a lock file holds, it can be locked, and whoever does not get it reads one line."""
    path = run() / LOCK
    path.write_bytes(content)
    lock = FolderLock(run())
    try:
        path.write_bytes(content)
        assert is_locked(run())
        try:
            FolderLock(run()).release()
        except BusyError as error:
            require_one_line(str(error))
        else:
            raise AssertionError("two hold one lock")
    finally:
        lock.release()
    assert not is_locked(run())
