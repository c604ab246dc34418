"""Tar shards and rows that are not what they should be: refused by name, in bounded memory, and never a hang."""

from __future__ import annotations

import io
import json
import os
import resource
import tarfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from mgnet_train import load_dataset
from mgnet_train.data.digest import contents_sha256
from mgnet_train.data.files import FileEvalLoader
from mgnet_train.data.imagenet.images import StreamedDataset
from mgnet_train.errors import DataError
from mgnet_train.train.distributed import Processes

wds = pytest.mark.skipif(find_spec("webdataset") is None, reason="webdataset is missing: install mgnet-train[wds]")
hfds = pytest.mark.skipif(find_spec("datasets") is None, reason="datasets is missing: install mgnet-train[hfds]")
ALONE = Processes(rank=0, world=1, device=torch.device("cpu"))


def _encoded(format: str = "JPEG") -> bytes:
    content = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8)).save(content, format)
    return content.getvalue()


JPEG = _encoded()


def _member(name: str, content: bytes, **changes: Any) -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for key, value in changes.items():
        setattr(member, key, value)
    return member, content


def _tar(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for member, content in members:
            tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()


GOOD = [_member("a.cls", b"0"), _member("a.jpg", JPEG), _member("b.cls", b"1"), _member("b.jpg", JPEG)]


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    folder = tmp_path / "shards"
    folder.mkdir()
    for split in ("train", "val"):
        (folder / f"{split}-0.tar").write_bytes(_tar(*GOOD))
    return folder


def _load(folder: Path) -> StreamedDataset:
    data = load_dataset("imagenet", folder.parent, source=f"wds/{folder.name}", workers=0)
    assert isinstance(data, StreamedDataset)
    return data


@wds
@pytest.mark.parametrize(
    "name", ["._a.jpg", "._c.cls", "__MACOSX/._a.jpg", "__MACOSX/a.jpg", "@eaDir/a.jpg", ".hidden/a.cls", "README"]
)
def test_what_systems_leave_in_archives_is_no_sample(shards: Path, name: str) -> None:
    before = _load(shards).sha256
    (shards / "train-0.tar").write_bytes(_tar(_member(name, b"x"), *GOOD))
    (shards / "._train-0.tar").write_bytes(b"macOS's attributes")
    assert _load(shards).sha256 == before


@wds
def test_images_of_every_format_that_a_folder_may_have_are_taken_from_shards(shards: Path) -> None:
    formats = {"png": "PNG", "webp": "WEBP", "bmp": "BMP", "gif": "GIF", "tif": "TIFF"}
    members = [
        member
        for suffix, format in formats.items()
        for member in (_member(f"./{suffix}.{suffix}", _encoded(format)), _member(f"./{suffix}.cls", b" 7\n"))
    ]
    (shards / "val-0.tar").write_bytes(_tar(*members))
    loader = FileEvalLoader(_load(shards), batch_size=8, processes=ALONE, workers=0)
    assert sum(len(labels) for _, labels in loader) == len(formats)
    assert loader.corrupt == 0


def _replaced(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def _made(make: Callable[[Path], object]) -> Callable[[Path], object]:
    def spoil(path: Path) -> None:
        path.unlink()
        make(path)

    return spoil


@wds
@pytest.mark.parametrize(
    "spoil, message",
    [
        (_made(os.mkfifo), "is a FIFO, no plain file: get it again"),
        (_made(lambda path: path.symlink_to("/dev/zero")), "is a device, no plain file: get it again"),
        (_made(lambda path: path.symlink_to("nowhere")), "is missing: get the shard"),
        (_made(lambda path: path.symlink_to(path.name)), r"cannot be read \(Too many levels of symbolic links\): get the shard"),
        (_made(Path.mkdir), "is a folder, no plain file: get it again"),
        (_replaced(_tar(_member("a.cls", b"1_0"), GOOD[1])), r": a has the label b'1_0', no number"),
        (_replaced(_tar(_member("a.cls", b"1" * 40), GOOD[1])), r": a has the label b'1+', no number"),
        (_replaced(_tar(_member("a.cls", b"-1"), GOOD[1])), r": a has the label b'-1', no number"),
        (_replaced(_tar(_member("a.cls", b""), GOOD[1])), r": a has the label b'', no number"),
        (_replaced(_tar(GOOD[0], _member("a.jpg", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd"))), r": a has no image"),
        (_replaced(_tar(GOOD[0], _member("a.jpg", b"", type=tarfile.LNKTYPE, linkname="/etc/passwd"))), r": a has no image"),
        (_replaced(_tar(GOOD[0], GOOD[2], GOOD[1], GOOD[3])), r": a has no image"),
        (_replaced(_tar(_member("readme.txt", b"x"))), r"the shards of train in .* hold no images"),
        (_replaced(_tar()), r"the shards of train in .* hold no images"),
    ],
)  # fmt: skip
def test_a_shard_that_nobody_can_use_is_refused_by_name(shards: Path, spoil: Callable[[Path], object], message: str) -> None:
    spoil(shards / "train-0.tar")
    with pytest.raises(DataError, match=rf"({shards / 'train-0.tar'}.*)?{message}") as raised:
        _ = _load(shards).train
    assert str(raised.value).isprintable()


@wds
def test_a_header_that_asks_for_gigabytes_is_refused_without_them(shards: Path, child: Callable[[Callable[[], int]], Any]) -> None:
    header = _member("PaxHeader", b"", type=tarfile.XHDTYPE)[0]
    header.size = 2**32
    with (shards / "train-0.tar").open("wb") as shard:
        shard.write(header.tobuf(tarfile.GNU_FORMAT))
        shard.truncate(2**32 + 10_240)

    def read() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with pytest.raises(DataError, match=r"is no whole tar file \(a header of 4,294,967,296 bytes\)"):
            _ = _load(shards).train
        return int((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 > 200)

    assert child(read).wait() == 0


@wds
def test_names_in_shards_that_no_terminal_can_print_are_shown_escaped(shards: Path) -> None:
    (shards / "val-0.tar").write_bytes(_tar(_member("\udcff\n\x1b.cls", b"0"), _member("\udcff\n\x1b.jpg", b"no image"), *GOOD))
    loader = FileEvalLoader(_load(shards), batch_size=8, processes=ALONE, workers=0)
    list(loader)
    (told,) = loader.corrupt_files
    assert told.startswith(rf"{shards / 'val-0.tar'}: \udcff\n\x1b (no image")


@wds
@pytest.mark.parametrize(
    "info, message",
    [
        (b"", "cannot be opened by timm"),
        (b"[]", "cannot be opened by timm"),
        (b'{"splits": {"train": 5}}', "cannot be opened by timm"),
        ({"filenames": ["train-0.tar"], "shard_lengths": []}, "names no shards, one twice, or not the length of each"),
        ({"filenames": [], "shard_lengths": []}, "names no shards"),
        ({"filenames": ["train-0.tar"] * 2, "shard_lengths": [2, 2]}, "names no shards, one twice"),
        ({"filenames": ["train-0.tar"], "shard_lengths": ["many"]}, "cannot be opened by timm"),
        ({"filenames": ["train-0.tar"], "shard_lengths": [3]}, "has 2 images, its folder's info file says 3"),
        ({"filenames": [5], "shard_lengths": [3]}, "5 is missing: get the shard"),
        (os.mkfifo, "is a FIFO, no plain file: get it again"),
        (lambda path: path.symlink_to("nowhere"), "is a link that leads nowhere: get it again"),
    ],
)
def test_an_info_file_that_is_not_what_it_should_be_is_refused(shards: Path, info: Any, message: str) -> None:
    path = shards / "_info.json"
    if callable(info):
        info(path)
    else:
        split = info if isinstance(info, bytes) else {"name": "train", "num_samples": 2, **info}
        path.write_bytes(split if isinstance(split, bytes) else json.dumps({"splits": {"train": split}}).encode())
    with pytest.raises(DataError, match=message):
        _ = _load(shards).train


@wds
def test_a_shard_that_could_belong_to_both_splits_is_refused(shards: Path) -> None:
    (shards / "train-0.tar").rename(shards / "trainval-0.tar")
    with pytest.raises(DataError, match=r"trainval-0\.tar has both 'train' and 'val' in its name: rename it"):
        _ = _load(shards).train


@wds
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_mutated_shard_is_scanned_or_refused_in_one_line(shards: Path, data: st.DataObject) -> None:
    content = bytearray(_tar(*GOOD))
    for _ in range(data.draw(st.integers(1, 4))):
        header = data.draw(st.sampled_from([0, 1024, 2048 + 1024, 4096]))
        content[data.draw(st.integers(header, header + 511)) % len(content)] = data.draw(st.integers(0, 255))
    (shards / "train-0.tar").write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        found = _load(shards).train
    except DataError as error:
        assert str(error).isprintable()  # noqa: PT017
        return
    assert 1 <= len(found) <= 4
    assert all(len(found.encoded(i)) <= len(content) for i in range(len(found)))


@pytest.fixture
def rows(tmp_path: Path) -> Callable[..., StreamedDataset]:
    import datasets
    import pyarrow
    import pyarrow.parquet

    datasets.disable_progress_bars()

    def write(images: list[Any], labels: list[Any], kind: Any = None) -> StreamedDataset:
        features = datasets.Features({"image": datasets.Image(), "label": kind or datasets.Value("int64")})
        for split in ("train", "validation"):
            table = pyarrow.Table.from_pydict({"image": images, "label": labels}, schema=features.arrow_schema)
            (tmp_path / "rows").mkdir(exist_ok=True)
            pyarrow.parquet.write_table(table, tmp_path / "rows" / f"{split}-00000-of-00001.parquet")
        data = load_dataset("imagenet", tmp_path, source="hfds/rows")
        assert isinstance(data, StreamedDataset)
        return data

    return write


@hfds
def test_rows_that_point_to_what_nobody_can_read_count_as_corrupt(rows: Callable[..., StreamedDataset], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.jpg")
    (tmp_path / "good.jpg").write_bytes(JPEG)
    paths = [str(tmp_path / name) for name in ("fifo.jpg", "missing.jpg", "good.jpg")]
    images = [{"bytes": None, "path": path} for path in paths] + [{"bytes": b"", "path": None}, {"bytes": JPEG, "path": None}]
    data = rows(images, [0, 0, 0, 0, 0])
    assert len(contents_sha256(data, threads=1, between=int)) == 64
    loader = FileEvalLoader(data, batch_size=8, processes=ALONE, workers=0)
    assert sum(len(labels) for _, labels in loader) == 2
    reasons = " ".join(loader.corrupt_files)
    assert "is a FIFO" in reasons
    assert "is missing" in reasons
    assert "has neither content nor path" in reasons


@hfds
@pytest.mark.parametrize("kind, labels", [("float64", [0.0, 1.7]), ("bool", [True, False]), ("string", ["dog", "cat"])])
def test_labels_of_rows_that_are_no_whole_numbers_are_refused(
    rows: Callable[..., StreamedDataset], kind: str, labels: list[Any]
) -> None:
    import datasets

    data = rows([{"bytes": JPEG, "path": None}] * 2, labels, datasets.Value(kind))
    with pytest.raises(DataError, match=r"rows has no images and labels .*the column label is .*, not whole numbers\)"):
        _ = data.train


@hfds
def test_rows_without_a_label_or_without_any_row_are_refused(rows: Callable[..., StreamedDataset]) -> None:
    with pytest.raises(DataError, match=r"row 1 has label -1, outside 0\.\.999"):
        _ = rows([{"bytes": JPEG, "path": None}] * 2, [0, None]).train
    with pytest.raises(DataError, match=r"imagenet has no images in its split train|rows has no images and labels"):
        _ = rows([], []).train
