"""CIFAR and MNIST in every form and place that people have them: what is written is read; anything else is refused in one line."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import resource
import struct
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mgnet_train import load_dataset
from mgnet_train.data.dataset import ResidentDataset
from mgnet_train.errors import DataError

RANDOM = np.random.default_rng(0)
N = {"cifar10": (3, 3, 3, 3, 3, 4), "cifar100": (15, 4), "mnist": (6, 3)}
FILES = {
    "cifar10": (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"),
    "cifar100": ("train", "test"),
}
PIXELS = {
    name: [RANDOM.integers(0, 256, (n, *((28, 28) if name == "mnist" else (3072,))), dtype=np.uint8) for n in sizes]
    for name, sizes in N.items()
}
LABELS = {name: [RANDOM.integers(0, 100 if name == "cifar100" else 10, n).tolist() for n in sizes] for name, sizes in N.items()}


def _pickled(name: str, part: int, *, protocol: int = 2, **changes: Any) -> bytes:
    key = b"labels" if name == "cifar10" else b"fine_labels"
    batch: dict[Any, Any] = {
        b"data": PIXELS[name][part],
        key: LABELS[name][part],
        b"coarse_labels": [0] * len(LABELS[name][part]),
        b"filenames": [b"leptodactylus_pentadactylus_s_000004.png"] * len(LABELS[name][part]),
        b"batch_label": b"training batch",
    }
    return pickle.dumps(batch | {k.encode(): v for k, v in changes.items()}, protocol=protocol)


def _binary(name: str, part: int) -> bytes:
    rows = zip(LABELS[name][part], PIXELS[name][part])
    return b"".join((b"\x05" if name == "cifar100" else b"") + bytes([label]) + pixels.tobytes() for label, pixels in rows)


def _idx(array: np.ndarray[Any, Any]) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def _contents(name: str, form: str) -> dict[str, bytes]:
    if name == "mnist":
        contents = {}
        for part, prefix in enumerate(("train", "t10k")):
            contents[f"{prefix}-images-idx3-ubyte"] = _idx(PIXELS[name][part])
            contents[f"{prefix}-labels-idx1-ubyte"] = _idx(np.array(LABELS[name][part], dtype=np.uint8))
        return contents
    if form == "binary":
        return {f"{file}.bin": _binary(name, part) for part, file in enumerate(FILES[name])}
    return {file: _pickled(name, part) for part, file in enumerate(FILES[name])}


def _write(folder: Path, name: str, form: str = "python") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in _contents(name, form).items():
        (folder / file).write_bytes(content)


def _tar(folder: str, contents: dict[str, bytes], *, first: bytes = b"") -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for file, content in {"batches.meta": first, **contents}.items():
            member = tarfile.TarInfo(f"{folder}/{file}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def _load(name: str, data_dir: Path) -> ResidentDataset:
    data = load_dataset(name, data_dir)
    assert isinstance(data, ResidentDataset)
    return data


def _require_equal(data: ResidentDataset, name: str) -> None:
    shape = (-1, 1, 28, 28) if name == "mnist" else (-1, 3, 32, 32)
    assert np.array_equal(data.train.images.numpy(), np.concatenate(PIXELS[name][:-1]).reshape(shape))
    assert np.array_equal(data.test.images.numpy(), PIXELS[name][-1].reshape(shape))
    assert data.train.labels.tolist() == [label for part in LABELS[name][:-1] for label in part]
    assert data.test.labels.tolist() == LABELS[name][-1]


@pytest.mark.parametrize(
    "name, form, place",
    [
        ("cifar10", "python", "cifar10"),
        ("cifar10", "python", "CIFAR-10"),
        ("cifar10", "python", "cifar-10-batches-py"),
        ("cifar10", "python", "cifar10/cifar-10-batches-py"),
        ("cifar10", "python", "."),
        ("cifar10", "binary", "cifar10"),
        ("cifar10", "binary", "cifar-10-batches-bin"),
        ("cifar100", "python", "cifar100"),
        ("cifar100", "python", "cifar-100-python"),
        ("cifar100", "python", "CIFAR100/cifar-100-python"),
        ("cifar100", "python", "."),
        ("cifar100", "binary", "cifar100/cifar-100-binary"),
        ("mnist", "idx", "mnist"),
        ("mnist", "idx", "MNIST/raw"),
        ("mnist", "idx", "mnist/MNIST/raw"),
        ("mnist", "idx", "raw"),
    ],
)
def test_files_are_found_where_people_have_them_and_read_as_they_were_written(
    tmp_path: Path, name: str, form: str, place: str
) -> None:
    _write(tmp_path / place, name, form)
    _require_equal(_load(name, tmp_path), name)


@pytest.mark.parametrize(
    "name, form, archive",
    [
        ("cifar10", "python", "cifar-10-python.tar.gz"),
        ("cifar10", "python", "cifar-10-python.tar"),
        ("cifar10", "binary", "cifar-10-binary.tar.gz"),
        ("cifar100", "python", "cifar-100-python.tar.gz"),
        ("cifar100", "binary", "cifar-100-binary.tar.gz"),
    ],
)
@pytest.mark.parametrize("place", [".", "own"])
def test_an_archive_need_not_be_unpacked_and_gives_the_same_digest(
    tmp_path: Path, name: str, form: str, archive: str, place: str
) -> None:
    _write(tmp_path / "plain" / name, name)
    folder = tmp_path / "packed" / (name if place == "own" else ".")
    folder.mkdir(parents=True)
    packed = _tar(archive.partition(".")[0], _contents(name, form))
    (folder / archive).write_bytes(gzip.decompress(packed) if archive.endswith(".tar") else packed)
    data = _load(name, tmp_path / "packed")
    _require_equal(data, name)
    assert data.sha256 == _load(name, tmp_path / "plain").sha256


@pytest.mark.parametrize("dot, suffix", [("-idx", "-ubyte.gz"), (".idx", "-ubyte"), (".idx", "-ubyte.gz")])
def test_mnist_has_its_names_with_a_dot_too_and_compressed_or_not(tmp_path: Path, dot: str, suffix: str) -> None:
    (tmp_path / "mnist").mkdir()
    for file, content in _contents("mnist", "idx").items():
        (tmp_path / "mnist" / file.replace("-idx", dot).replace("-ubyte", suffix)).write_bytes(
            gzip.compress(content) if suffix.endswith("gz") else content
        )
        (tmp_path / "mnist" / file).mkdir()  # Kaggle's archive has folders of these names
    _require_equal(_load("mnist", tmp_path), "mnist")


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_cifar_pickled_by_any_python_and_numpy_is_read(tmp_path: Path, protocol: int) -> None:
    _write(tmp_path, "cifar100")
    for part, file in enumerate(FILES["cifar100"]):
        (tmp_path / file).write_bytes(_pickled("cifar100", part, protocol=protocol))
    _require_equal(_load("cifar100", tmp_path), "cifar100")


def _as_python_2_wrote(name: str, part: int) -> bytes:
    """The instructions of the published files: byte strings, numpy of 2009."""
    pixels, labels = PIXELS[name][part], LABELS[name][part]
    array = b"cnumpy.core.multiarray\n_reconstruct\nq\x07cnumpy\nndarray\nq\x08K\x00\x85q\tU\x01bq\n\x87q\x0bRq\x0c"
    dtype = b"cnumpy\ndtype\nq\rU\x02u1q\x0eK\x00K\x01\x87q\x0fRq\x10(K\x03U\x01|NNN" + b"J\xff\xff\xff\xff" * 2 + b"K\x00tb"
    state = b"(K\x01K%cM\x00\x0c\x86%s\x89T%s%stb" % (len(pixels), dtype, struct.pack("<I", pixels.size), pixels.tobytes())
    listed = b"]q\x05(" + b"".join(b"K%c" % label for label in labels) + b"e"
    return b"\x80\x02}q\x01(U\x06labelsq\x04" + listed + b"U\x04dataq\x06" + array + state + b"u."


def test_the_published_pickles_are_read_as_python_itself_reads_them(tmp_path: Path) -> None:
    for part, file in enumerate(FILES["cifar10"]):
        content = _as_python_2_wrote("cifar10", part)
        assert np.array_equal(pickle.loads(content, encoding="bytes")[b"data"], PIXELS["cifar10"][part])
        (tmp_path / file).write_bytes(content)
    _require_equal(_load("cifar10", tmp_path), "cifar10")


def test_a_part_of_a_data_set_is_noted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _write(tmp_path, "cifar10")
    _load("cifar10", tmp_path)
    assert capsys.readouterr().err == (
        "note: cifar10 has 15 of its 50,000 training images\nnote: cifar10 has 4 of its 10,000 test images\n"
    )


@pytest.mark.parametrize("name, form", [("mnist", "idx"), ("cifar10", "python"), ("cifar100", "binary")])
def test_the_test_images_alone_are_read_without_the_others(tmp_path: Path, name: str, form: str) -> None:
    _write(tmp_path, name, form)
    whole = _load(name, tmp_path)
    for path in tmp_path.iterdir():
        if not path.name.startswith("t10k") and "test" not in path.name:
            path.unlink()
    data = load_dataset(name, tmp_path, only_test=True)
    assert isinstance(data, ResidentDataset)
    assert torch.equal(data.test.images, whole.test.images)
    assert torch.equal(data.test.labels, whole.test.labels)
    assert data.size == whole.size
    with pytest.raises(DataError, match=r"is missing"):
        load_dataset(name, tmp_path)


class _Bomb:
    def __init__(self, function: Any, *values: Any) -> None:
        self._call = function, values

    def __reduce__(self) -> Any:
        return self._call


def _hash_bomb() -> bytes:
    """A dictionary whose key is a tuple of tuples of tuples, each in the next twice: its hash takes 2**64 steps."""
    twice = b"".join(b"h%ch%c\x86q%c" % (i, i, i + 1) for i in range(64))
    return b"\x80\x02})q\x00" + twice + b"K\x01s."


def _repeated_text() -> bytes:
    """A megabyte of text that is made into bytes 50 times."""
    encoded = b"c_codecs\nencode\nh\x00U\x06latin1\x86R0"
    return b"\x80\x02X" + struct.pack("<I", 10**6) + b"a" * 10**6 + b"q\x000" + encoded * 50 + b"}."


DATA = PIXELS["cifar10"][5]
CIFAR_FAULTS: dict[str, tuple[bytes, str]] = {
    "floats": (_pickled("cifar10", 5, data=DATA / 255), r"has an array \(4, 3072\) of f8 for its images, not 8-bit numbers"),
    "64 bits": (_pickled("cifar10", 5, data=DATA.astype(int)), r"has an array \(4, 3072\) of i8 for its images"),
    "signed": (_pickled("cifar10", 5, data=DATA.view(np.int8)), r"has an array \(4, 3072\) of i1 for its images"),
    "NHWC": (_pickled("cifar10", 5, data=DATA.reshape(4, 32, 32, 3)), r"has an array \(4, 32, 32, 3\) of u1 for its images"),
    "narrow": (_pickled("cifar10", 5, data=DATA[:, :784].copy()), r"has an array \(4, 784\) of u1 for its images"),
    "flat": (_pickled("cifar10", 5, data=DATA.reshape(-1)), r"has an array \(12288,\) of u1 for its images"),
    "column order": (_pickled("cifar10", 5, data=np.asfortranarray(DATA)), r"for its images, not 8-bit numbers"),
    "a list": (_pickled("cifar10", 5, data=DATA.tolist()), r"has more instructions than any CIFAR file|has no array of images"),
    "no images": (_pickled("cifar10", 5, data=DATA[:0], labels=[]), r"has 0 images, not 1 to 10,000"),
    "one label less": (_pickled("cifar10", 5, labels=[1, 2, 3]), r"has 4 images and 3 labels"),
    "a label too large": (_pickled("cifar10", 5, labels=[1, 2, 3, 10]), r"has labels outside 0\.\.9"),
    "a label too small": (_pickled("cifar10", 5, labels=[1, 2, 3, -1]), r"has labels outside 0\.\.9"),
    "labels that are floats": (_pickled("cifar10", 5, labels=[1.0, 2.0, 3.0, 4.0]), r"has no whole numbers as labels"),
    "labels that are truths": (_pickled("cifar10", 5, labels=[True] * 4), r"has no whole numbers as labels"),
    "no labels": (pickle.dumps({b"data": DATA}, 2), r"has no whole numbers as labels"),
    "a list for a batch": (pickle.dumps([DATA], 2), r"holds no batch of CIFAR"),
    "another data set": (_pickled("cifar100", 1), r"has no whole numbers as labels"),
    "empty": (b"", r"is corrupt \(EOFError"),
    "cut": (_pickled("cifar10", 5)[:-9], r"is corrupt"),
    "a page": (b"<!doctype html>", r"is corrupt"),
    "a call": (pickle.dumps({b"data": _Bomb(os.mkdir, "attacked")}, 2), r"asks to call posix\.mkdir, which"),
    "a huge array": (pickle.dumps(_Bomb(np.ndarray, (2**40,)), 2), r"asks to call numpy\.ndarray, which no CIFAR file does"),
    "a slow key": (_hash_bomb(), r"has keys that are no names"),
    "a set": (pickle.dumps({1, 2, 3}, 4), r"is corrupt"),
    "state for a function": (b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n}b.", r"sets the state of no array"),
    "a million lists": (b"\x80\x02" + b"]" * 10**6 + b".", r"has more instructions than any CIFAR file"),
    "text again and again": (_repeated_text(), r"makes more bytes than it has"),
    "too long": (bytes(70_000_000), r"has 70,000,000 bytes or more"),
}  # fmt: skip


@pytest.mark.parametrize("fault", CIFAR_FAULTS)
def test_a_cifar_file_that_is_not_what_it_should_be_is_refused_by_name(
    tmp_path: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, message = CIFAR_FAULTS[fault]
    monkeypatch.chdir(tmp_path)
    _write(tmp_path, "cifar10")
    (tmp_path / "test_batch").write_bytes(content)
    with pytest.raises(DataError, match=rf"^{tmp_path / 'test_batch'} .*({message}).*: get it again$"):
        load_dataset("cifar10", tmp_path)
    assert not (tmp_path / "attacked").exists()


@pytest.mark.parametrize(
    "content, message",
    [
        (_binary("cifar10", 5)[:-1], "has 12291 bytes, which is no multiple of 3073"),
        (b"", "has 0 images, not 1 to 10,000"),
        (b"\x0a" + bytes(3072), r"has labels outside 0\.\.9"),
        (bytes(3073 * 10_001), "has 30,733,073 bytes or more, and 30,730,000 are the most"),
    ],
)
def test_a_binary_file_that_is_not_what_it_should_be_is_refused_by_name(tmp_path: Path, content: bytes, message: str) -> None:
    _write(tmp_path, "cifar10", "binary")
    (tmp_path / "test_batch.bin").write_bytes(content)
    with pytest.raises(DataError, match=rf"test_batch\.bin {message}"):
        load_dataset("cifar10", tmp_path)


MNIST_FAULTS: dict[str, tuple[str, bytes, str]] = {
    "7 x 11 pixels": ("train-images-idx3-ubyte", _idx(np.zeros((6, 7, 11), np.uint8)), "has images of 7 x 11 pixels, not 28 x 28"),
    "no images": ("train-images-idx3-ubyte", _idx(np.zeros((0, 28, 28), np.uint8)), "has 0 entries, not 1 to 60,000"),
    "too many": ("t10k-labels-idx1-ubyte", _idx(np.zeros(10_001, np.uint8)), "has 10,001 entries, not 1 to 10,000"),
    "more than it says": ("train-images-idx3-ubyte", _idx(PIXELS["mnist"][0]) + b"x", "promises 4704 bytes and has more"),
    "less than it says": ("train-images-idx3-ubyte", _idx(PIXELS["mnist"][0])[:-1], "promises 4704 bytes and has 4703"),
    "a label too large": ("train-labels-idx1-ubyte", _idx(np.full(6, 10, np.uint8)), r"has label 10, outside 0\.\.9"),
    "labels for images": ("train-images-idx3-ubyte", _idx(np.zeros(6, np.uint8)), "is no idx file of bytes with 3 axes"),
    "floats": ("train-images-idx3-ubyte", b"\0\0\x0d\3" + bytes(12 + 4 * 784), "is no idx file of bytes with 3 axes"),
    "empty": ("train-labels-idx1-ubyte", b"", "is no idx file of bytes with 1 axes"),
    "one label more": ("train-labels-idx1-ubyte", _idx(np.zeros(7, np.uint8)), "6 images and 7 labels for train"),
    "a promise of terabytes": ("train-images-idx3-ubyte", b"\0\0\x08\3" + b"\xff" * 12, "has images of 4294967295 x 4294967295"),
}  # fmt: skip


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("fault", MNIST_FAULTS)
def test_an_idx_file_that_is_not_what_it_should_be_is_refused_by_name(tmp_path: Path, fault: str, suffix: str) -> None:
    file, content, message = MNIST_FAULTS[fault]
    _write(tmp_path, "mnist", "idx")
    (tmp_path / file).unlink()
    (tmp_path / (file + suffix)).write_bytes(gzip.compress(content) if suffix else content)
    with pytest.raises(DataError, match=message):
        load_dataset("mnist", tmp_path)


def _header(file: str, size: int) -> bytes:
    member = tarfile.TarInfo(f"cifar-10-batches-py/{file}")
    member.size = size
    return member.tobuf()


def _gzip_bomb(start: bytes, megabytes: int = 2048) -> bytes:
    """A megabyte of zeros, compressed, many times over: a thousandth of its size."""
    return gzip.compress(start) + gzip.compress(bytes(2**20)) * megabytes


@pytest.mark.parametrize(
    "file, start, message",
    [
        ("train-images-idx3-ubyte.gz", _idx(PIXELS["mnist"][0]), "promises 4704 bytes and has more"),
        ("cifar-10-python.tar.gz", _header("data_batch_1", 2**25), "lacks data_batch_2"),
        ("cifar-10-binary.tar.gz", _header("somewhat", 2**40), r"is no whole archive \(ReadError: it unpacks to more"),
    ],
)
def test_a_gzip_bomb_is_refused_in_bounded_memory(
    tmp_path: Path, file: str, start: bytes, message: str, child: Callable[[Callable[[], int]], Any]
) -> None:
    name = "mnist" if file.startswith("train") else "cifar10"
    if name == "mnist":
        _write(tmp_path, "mnist", "idx")
        (tmp_path / "train-images-idx3-ubyte").unlink()
    (tmp_path / file).write_bytes(_gzip_bomb(start))

    def read() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started = time.monotonic()
        with pytest.raises(DataError, match=message):
            load_dataset(name, tmp_path)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        return int(grown > 200) + 2 * int(time.monotonic() - started > 20)

    assert child(read).wait() == 0


def test_a_member_of_terabytes_is_refused_by_its_header(tmp_path: Path) -> None:
    header = _header("data_batch_1", 2**42)
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(gzip.compress(header + bytes(10_000)))
    with pytest.raises(DataError, match=r"cifar-10-python\.tar\.gz has cifar-10-batches-py/data_batch_1 twice or with 4,398,046"):
        load_dataset("cifar10", tmp_path)


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda content: content[: len(content) // 2], r"is no whole archive \(EOFError|is no whole archive"),
        (lambda content: b"no archive", r"cifar-100-python\.tar\.gz (is no whole archive|cannot be read)"),
        (lambda content: _tar("x", {"train": _pickled("cifar100", 0)}), r"lacks test: get it again"),
        (lambda content: _tar("x", _contents("cifar100", "python") | {"y/train": b""}), r"has x/y/train twice"),
        (lambda content: _tar("x", _contents("cifar100", "python") | {"test": b"?"}), r"tar\.gz/test is corrupt"),
    ],
)
def test_an_archive_that_is_not_what_it_should_be_is_refused_by_name(
    tmp_path: Path, spoil: Callable[[bytes], bytes], message: str
) -> None:
    path = tmp_path / "cifar-100-python.tar.gz"
    path.write_bytes(spoil(_tar("cifar-100-python", _contents("cifar100", "python"))))
    with pytest.raises(DataError, match=message):
        load_dataset("cifar100", tmp_path)


@pytest.mark.parametrize("name, file", [("mnist", "train-images-idx3-ubyte"), ("cifar10", "test_batch"), ("cifar100", "train")])
@pytest.mark.parametrize(
    "make, message",
    [
        (os.mkfifo, "is a FIFO, no plain file"),
        (lambda path: path.symlink_to("nowhere"), "is a link that leads nowhere"),
        (lambda path: path.symlink_to(path.name), "is a link that leads in a circle"),
        (lambda path: path.symlink_to("/dev/zero"), "is a device, no plain file"),
    ],
)
def test_a_file_that_nobody_can_read_is_refused_by_name_and_hangs_nothing(
    tmp_path: Path, name: str, file: str, make: Callable[[Path], None], message: str
) -> None:
    _write(tmp_path / name, name, "python")
    (tmp_path / name / file).unlink()
    make(tmp_path / name / file)
    with pytest.raises(DataError, match=rf"{file} {message}: get"):
        load_dataset(name, tmp_path)


FORMS = [("mnist", "idx"), ("cifar10", "python"), ("cifar10", "binary"), ("cifar100", "python"), ("cifar100", "binary")]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), pair=st.sampled_from(FORMS))
def test_mutated_files_are_read_whole_or_refused_in_one_line(tmp_path: Path, data: st.DataObject, pair: tuple[str, str]) -> None:
    name, form = pair
    folder = tmp_path / f"{name}-{form}"
    _write(folder, name, form)
    file = folder / data.draw(st.sampled_from(sorted(_contents(name, form))))
    content = bytearray(file.read_bytes())
    # The headers, not the pixels, are what parsers stumble over.
    places = st.integers(0, len(content) - 1) if data.draw(st.booleans()) else st.integers(0, min(300, len(content) - 1))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(places)] = data.draw(st.integers(0, 255))
    file.write_bytes(content[: data.draw(st.integers(len(content) - 3, len(content)))])
    try:
        read = _load(name, folder)
    except DataError as error:
        assert str(error).isprintable()  # noqa: PT017
        assert str(folder) in str(error)  # noqa: PT017
        return
    assert read.train.images.shape[1:] == ((1, 28, 28) if name == "mnist" else (3, 32, 32))
    assert int(torch.cat([read.train.labels, read.test.labels]).max()) < read.info.num_classes
