"""A written file is the old one or the new one, whatever fails; a read one is strict."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from mgnet_records.errors import InputError
from mgnet_records.fields import Part
from mgnet_records.files import require_writable, write_bytes, write_json, write_text
from mgnet_records.strict_json import read_document


class Pair(Part):
    name: str
    size: float


PAIR = TypeAdapter(Pair)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(old=st.none() | st.binary(max_size=20), new=st.binary(max_size=20), durable=st.booleans())
def test_the_content_is_written_whole_and_nothing_else_is_left(
    tmp_path: Path, old: bytes | None, new: bytes, durable: bool
) -> None:
    path = tmp_path / "file"
    path.unlink(missing_ok=True)
    if old is not None:
        path.write_bytes(old)
    assert write_bytes(path, new, durable=durable, only_if_changed=True) == (old != new)
    assert path.read_bytes() == new
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("step", ["open", "fdopen", "fsync", "replace"])
@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_at_any_step_leaves_the_old_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, failure: BaseException
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail(*_: Any, **__: Any) -> Any:
        raise failure

    with monkeypatch.context() as patch:
        patch.setattr(f"mgnet_records.files.os.{step}", fail)
        with pytest.raises((InputError, KeyboardInterrupt)) as caught:
            write_bytes(path, b"new", durable=True)
    if isinstance(failure, OSError):
        assert str(caught.value).startswith(f"cannot write {path}: No space left on device;")
        assert caught.value.__cause__ is failure
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_the_mode_is_what_the_umask_leaves(tmp_path: Path, mask: int, mode: int) -> None:
    before = os.umask(mask)
    try:
        write_text(tmp_path / "file", "text")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode


def test_a_name_as_long_as_names_may_be_is_written(tmp_path: Path) -> None:
    write_text(tmp_path / ("ü" * 127), "text")
    with pytest.raises(InputError, match="File name too long"):
        write_text(tmp_path / ("a" * 256), "text")


def test_links_folders_devices_and_missing_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("old")
    (tmp_path / "link").symlink_to("target")
    (tmp_path / "dangling").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    for name, said in [
        ("link", "is a link"),
        ("dangling", "is a link"),
        ("", "is a folder"),
        ("pipe", "no plain file"),
        ("no/file", "does not exist"),
        ("target/file", "does not exist"),
    ]:
        with pytest.raises(InputError, match=said):
            require_writable(tmp_path / name)
        with pytest.raises(InputError, match=said):
            write_text(tmp_path / name, "new")
    assert (tmp_path / "target").read_text() == "old"


def test_a_document_that_is_no_json_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_json(path, {"b": 1, "a": "ü"})
    assert path.read_text(encoding="utf-8") == '{\n  "a": "ü",\n  "b": 1\n}\n'
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"a": float("nan")})
    assert json.loads(path.read_text(encoding="utf-8")) == {"a": "ü", "b": 1}


@given(st.text(), st.floats(allow_nan=False, allow_infinity=False))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_was_written_is_read_back(tmp_path: Path, name: str, size: float) -> None:
    pair = Pair(name=name, size=size)
    write_json(tmp_path / "file", pair.model_dump(mode="json"))
    assert read_document(tmp_path / "file", PAIR) == pair


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"name": "a", "size": NaN}', "NaN is not a number"),
        ('{"name": "a", "size": 1e999}', "1e999 is too large"),
        ('{"name": "a", "name": "b", "size": 1}', "'name' stands twice"),
        ('{"name": "a", "size": "1"}', "size: Input should be a valid number, got '1'"),
        ('{"name": "a", "size": 1, "more": 2}', "more: Extra inputs"),
        ('{"name": 1}', r"\(and 1 more\)"),
        ('{"name": "a"', "not strict JSON"),
        ("[" * 100_000, "larger than"),
        ("[" * 60_000, "not strict JSON"),
        ("", "not strict JSON"),
    ],
)
def test_other_json_is_refused_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "file.json"
    path.write_text(text)
    with pytest.raises(InputError, match=said) as caught:
        read_document(path, PAIR)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_links_pipes_folders_and_missing_files_are_refused_without_waiting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("{}")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "bytes").write_bytes(b"\xff")
    os.mkfifo(tmp_path / "pipe")
    for name, said in [
        ("link", "link"),
        ("pipe", "no plain file"),
        ("", "no plain file"),
        ("none", "No such file"),
        ("bytes", "UTF-8"),
    ]:
        with pytest.raises(InputError, match=said):
            read_document(tmp_path / name, PAIR)
