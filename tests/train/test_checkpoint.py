"""A checkpoint is whole and of this run, or it is rejected and the one before is used."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mgnet_train import InputError
from mgnet_train.runs.checkpoint import Checkpoints


def _saved(folder: Path, *numbers: int) -> Checkpoints:
    checkpoints = Checkpoints(folder, "run")
    for number in numbers:
        checkpoints.save({"number": number, "weights": torch.full((100,), float(number))})
    return checkpoints


def test_the_last_saved_state_is_loaded(tmp_path: Path) -> None:
    state = _saved(tmp_path, 1, 2, 3).load()
    assert state is not None
    assert state["number"] == 3
    assert torch.equal(state["weights"], torch.full((100,), 3.0))


def test_a_folder_without_files_has_no_state(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path, "run").load() is None


@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_one_flipped_bit_anywhere_is_detected_and_the_previous_state_used(
    tmp_path_factory: pytest.TempPathFactory, where: float, bit: int
) -> None:
    folder = tmp_path_factory.mktemp("checkpoints")
    checkpoints = _saved(folder, 1, 2)
    content = bytearray((folder / "last.ckpt").read_bytes())
    content[int(where * len(content))] ^= 1 << bit
    (folder / "last.ckpt").write_bytes(bytes(content))
    state = checkpoints.load()
    assert state is not None
    assert state["number"] == 1
    assert len(checkpoints.complaints) == 1


@given(st.floats(0, 1, exclude_max=True))
def test_a_truncated_file_is_detected_and_the_previous_state_used(tmp_path_factory: pytest.TempPathFactory, where: float) -> None:
    folder = tmp_path_factory.mktemp("checkpoints")
    checkpoints = _saved(folder, 1, 2)
    content = (folder / "last.ckpt").read_bytes()
    (folder / "last.ckpt").write_bytes(content[: int(where * len(content))])
    state = checkpoints.load()
    assert state is not None
    assert state["number"] == 1


def test_after_a_corrupt_file_the_good_one_is_not_pushed_out_by_it(tmp_path: Path) -> None:
    checkpoints = _saved(tmp_path, 1, 2)
    (tmp_path / "last.ckpt").write_bytes(b"garbage")
    checkpoints.load()
    checkpoints.save({"number": 3})
    (tmp_path / "last.ckpt").unlink()
    state = Checkpoints(tmp_path, "run").load()
    assert state is not None
    assert state["number"] == 1


def test_a_checkpoint_of_another_run_is_rejected(tmp_path: Path) -> None:
    _saved(tmp_path, 1)
    with pytest.raises(InputError, match=r"last\.ckpt belongs to another run: delete the folder"):
        Checkpoints(tmp_path, "another run").load()


def test_when_no_file_is_usable_the_run_is_not_silently_started_again(tmp_path: Path) -> None:
    checkpoints = _saved(tmp_path, 1, 2)
    for name in ("last.ckpt", "previous.ckpt"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(InputError, match="is no checkpoint of this version of mgnet-train"):
        checkpoints.load()
    assert (tmp_path / "last.ckpt").exists()


class _Attack:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (os.mkdir, ("attacked",))


def test_a_pickle_in_the_place_of_a_checkpoint_is_never_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "last.ckpt").write_bytes(pickle.dumps(_Attack()))
    with pytest.raises(InputError, match="is no checkpoint"):
        Checkpoints(tmp_path, "run").load()
    assert not (tmp_path / "attacked").exists()


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_save_that_fails_leaves_the_last_state_and_no_garbage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    checkpoints = _saved(tmp_path, 1, 2)

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, failing, full)
        with pytest.raises(OSError, match="No space"):
            checkpoints.save({"number": 3})
    state = checkpoints.load()
    assert state is not None
    assert state["number"] == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last.ckpt", "previous.ckpt"]
