"""SVHN's MATLAB files as they are published; anything else is refused in one line, with the file's name."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import savemat

from mgnet_records.datasets import DATA_SETS
from mgnet_train import load_dataset
from mgnet_train.data.dataset import ResidentDataset
from mgnet_train.data.svhn import read_mat
from mgnet_train.errors import DataError

RANDOM = np.random.default_rng(0)
X = RANDOM.integers(0, 256, (32, 32, 3, 12), dtype=np.uint8)
Y = np.array([[10, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 1]], dtype=np.uint8).T


def mat(*, do_compression: bool = True, **arrays: Any) -> bytes:
    file = io.BytesIO()
    savemat(file, arrays, do_compression=do_compression)
    return file.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "svhn").mkdir()
    (tmp_path / "svhn" / "train_32x32.mat").write_bytes(mat(X=X, y=Y))
    (tmp_path / "svhn" / "test_32x32.mat").write_bytes(mat(X=X[..., :4], y=Y[:4]))
    return tmp_path


def test_the_published_files_are_read_with_ten_as_the_digit_zero(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = load_dataset("svhn", folder)
    assert isinstance(data, ResidentDataset)
    assert data.train.labels.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    assert data.test.labels.tolist() == [0, 1, 2, 3]
    assert torch.equal(data.train.images, torch.from_numpy(X.transpose(3, 2, 0, 1).copy()))
    assert data.train.images.is_contiguous()
    assert "svhn has 12 of its 73,257 training images" in capfd.readouterr().err


def test_the_test_images_alone_are_enough_for_an_evaluation(folder: Path) -> None:
    (folder / "svhn" / "train_32x32.mat").unlink()
    data = load_dataset("svhn", folder, only_test=True)
    assert (len(data.train), len(data.test)) == (0, 4)
    with pytest.raises(DataError, match=r"train_32x32\.mat is missing"):
        load_dataset("svhn", folder)


@pytest.mark.parametrize("labels", [Y.astype(np.int64), Y.astype(np.float64), Y.T], ids=["int64", "double", "a row"])
@pytest.mark.parametrize("do_compression", [True, False], ids=["compressed", "plain"])
def test_labels_of_any_kind_of_number_are_read(tmp_path: Path, labels: Any, do_compression: bool) -> None:
    (tmp_path / "a.mat").write_bytes(mat(X=X, y=labels, do_compression=do_compression))
    assert read_mat(tmp_path / "a.mat", most=12).labels.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]


REJECTED = {
    "floats": (mat(X=X / 255.0, y=Y), "X of float64 of 32 x 32 x 3 x 12, not uint8"),
    "images first": (mat(X=X.transpose(3, 0, 1, 2), y=Y), "X of uint8 of 12 x 32 x 32 x 3, not uint8"),
    "other size": (mat(X=X[:28, :28], y=Y), "X of uint8 of 28 x 28 x 3 x 12"),
    "text": (mat(X="images", y=Y), "not uint8 of 32 x 32 x 3 x n"),
    "a structure": (mat(X={"a": X}, y=Y), "not uint8 of 32 x 32 x 3 x n"),
    "fewer labels": (mat(X=X, y=Y[:11]), "12 images and a y of uint8 of 11 x 1"),
    "labels of text": (mat(X=X, y=["a"] * 12), "12 images and a y of <U1"),
    "label 11": (mat(X=X, y=Y + 1), "labels outside of 1..10"),
    "label 2.5": (mat(X=X, y=Y / 2), "labels outside of 1..10"),
    "too many": (mat(X=np.concatenate([X, X], axis=3), y=np.concatenate([Y, Y])), "24 images, not 1 to 12"),
    "no X": (mat(y=Y), "no MATLAB file of version 5 with X and y ('X')"),
    "empty": (b"", "no MATLAB file of version 5 with X and y"),
    "HDF5": (b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + b"\x89HDF\r\n\x1a\n" + bytes(600), "no MATLAB file of version 5"),
    "cut": (mat(X=X, y=Y)[:9000], "no MATLAB file of version 5"),
    "a page": (b"<!DOCTYPE html><html>" * 40, "no MATLAB file of version 5"),
}


@pytest.mark.parametrize("kind", REJECTED)
def test_what_is_no_svhn_is_rejected_in_one_line(tmp_path: Path, kind: str) -> None:
    content, message = REJECTED[kind]
    (tmp_path / "a.mat").write_bytes(content)
    with pytest.raises(DataError) as error:
        read_mat(tmp_path / "a.mat", most=12)
    assert message in str(error.value)
    assert str(error.value).startswith(str(tmp_path / "a.mat"))
    assert "\n" not in str(error.value)


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    packed = zlib.compress(bytes(2**28), 9)
    bomb = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM" + struct.pack("<II", 15, len(packed)) + packed
    (tmp_path / "a.mat").write_bytes(bomb)
    with pytest.raises(DataError, match="more than 16,814,848 bytes when unpacked"):
        read_mat(tmp_path / "a.mat", most=12)


@settings(max_examples=40)
@given(place=st.integers(0, 5000), value=st.binary(min_size=1, max_size=8), do_compression=st.booleans())
def test_a_damaged_file_is_read_or_rejected(tmp_path_factory: Any, place: int, value: bytes, do_compression: bool) -> None:
    content = bytearray(mat(X=X[..., :2], y=Y[:2], do_compression=do_compression))
    place %= len(content)
    content[place : place + len(value)] = value
    path = tmp_path_factory.mktemp("svhn") / "a.mat"
    path.write_bytes(content)
    try:
        split = read_mat(path, most=12)
    except DataError:
        return
    assert split.images.shape[1:] == (3, 32, 32)
    assert set(split.labels.tolist()) <= set(range(10))


def test_the_facts_are_those_of_the_published_archive() -> None:
    info = DATA_SETS["svhn"]
    assert (info.train_images, info.test_images, info.num_classes, info.input_size) == (73_257, 26_032, 10, (3, 32, 32))
