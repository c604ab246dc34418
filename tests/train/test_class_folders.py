"""Class folders as people have them: what is passed over, what is refused by name, and files that nobody can read."""

from __future__ import annotations

import os
import re
import socket
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from mgnet_models import save_checkpoint
from mgnet_records.errors import InputError
from mgnet_train import load_dataset
from mgnet_train.cli.main import main
from mgnet_train.data.digest import contents_sha256
from mgnet_train.data.files import FileEvalLoader
from mgnet_train.data.imagenet.images import StreamedDataset
from mgnet_train.errors import DataError
from mgnet_train.train.distributed import Processes

ALONE = Processes(rank=0, world=1, device=torch.device("cpu"))
TENCH, GOLDFISH, RAY = "n01440764", "n01443537", "n01496331"
FIRST = Path("train") / TENCH


def _write(
    root: Path, classes: tuple[str, ...] = (TENCH, GOLDFISH), splits: tuple[str, ...] = ("train", "val"), n: int = 3
) -> Path:
    random = np.random.default_rng(0)
    for split in splits:
        for name in classes:
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(n):
                Image.fromarray(random.integers(0, 256, (9, 9, 3), dtype=np.uint8)).save(folder / f"{i}.JPEG")
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return _write(tmp_path / "imagenet")


def _load(root: Path) -> StreamedDataset:
    data = load_dataset("imagenet", root.parent)
    assert isinstance(data, StreamedDataset)
    return data


def _error(root: Path) -> str:
    data = _load(root)
    with pytest.raises(DataError) as raised:
        _ = data.train, data.test
    assert str(raised.value).isprintable()
    return str(raised.value)


NOTHING = (".ipynb_checkpoints", ".DS_Store", "._n01440764", "Thumbs.db", "desktop.ini", ".Trash-1000")
SYSTEM = (
    "__MACOSX",
    "lost+found",
    "@eaDir",
    "$RECYCLE.BIN",
    "$Recycle.Bin",
    "System Volume Information",
    "__pycache__",
    "#recycle",
)


@pytest.mark.parametrize("name", [*NOTHING, *SYSTEM])
@pytest.mark.parametrize("place", ["train", "val", f"train/{TENCH}", f"val/{GOLDFISH}"])
def test_what_systems_leave_in_folders_is_no_class_and_no_image(
    root: Path, place: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = _load(root)
    expected = before.sha256, before.train.labels.tolist(), before.test.labels.tolist()
    (root / place / name).mkdir()
    (root / place / name / "0.JPEG").write_bytes(b"a copy")
    capsys.readouterr()
    after = _load(root)
    assert (after.sha256, after.train.labels.tolist(), after.test.labels.tolist()) == expected
    told = [line for line in capsys.readouterr().err.splitlines() if name in line]
    assert len(told) == (name in SYSTEM and "/" not in place)


def test_twins_that_macos_makes_of_every_image_are_nothing(root: Path) -> None:
    before = _load(root).sha256
    for path in list(root.rglob("*.JPEG")):
        path.with_name(f"._{path.name}").write_bytes(b"\x00\x05\x16\x07")
    assert _load(root).sha256 == before


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda root: _write(root, ("backup",)), r"beside those named by WordNet ids \(n01440764\): 'backup': move them away"),
        (lambda root: _write(root, (f"{TENCH} copy",)), r"beside those named by WordNet ids .*: 'n01440764 copy'"),
        (lambda root: _write(root, (RAY,), ("train",)), r"class folders of .* differ, only train has 'n01496331'"),
        (lambda root: _write(root, (RAY,), ("val",)), r"class folders of .* differ, only val has 'n01496331'"),
        (lambda root: _rename(root / "val" / TENCH, "tench"), r"only train has 'n01440764'; only val has 'tench'"),
        (lambda root: _rename(root / "val" / TENCH, "N01440764"), r"only train has 'n01440764'; only val has 'N01440764'"),
        (lambda root: _write(root, ("N01440764",)), r"differ in case or spelling only: 'N01440764', 'n01440764': keep one"),
        (lambda root: (root / "train" / RAY).symlink_to(TENCH), r"are one and the same, by a link: 'n01440764', 'n01496331'"),
        (lambda root: (root / "train" / RAY).symlink_to("nowhere"), r"train/n01496331 cannot be read .* could be a class"),
        (lambda root: (root / "train" / RAY).symlink_to(RAY), r"train/n01496331 cannot be read \(Too many levels"),
        (
            lambda root: _move_down(root / "train", "train"),
            r"train holds 'train' again and nothing else: move what is in it",
        ),
        (lambda root: _move_down(root / FIRST, "images"), r"n01440764 holds folders, 'images', and no images"),
        (lambda root: _empty(root / FIRST), r"class folders without images in .*train: 'n01440764': get the images or delete"),
        (lambda root: _empty(root / "val"), r"val has no class folders: put the images there as train/<class>"),
        (lambda root: _flatten(root / "val"), r"val has no class folders but images, '.*' and 5 more, which must lie"),
        (lambda root: _archive(root / "train"), r"train has no class folders but 'n01440764.tar', to be unpacked: put"),
        (lambda root: _rename(root / "val", "test"), r"imagenet has no folder val: put the images there as"),
        (lambda root: (root / "validation").mkdir(), r"imagenet has val and validation: leave one of them for val"),
        (lambda root: _link_to_nothing(root / "val"), r"val is no folder, or a link that leads nowhere"),
    ],
)
def test_folders_that_would_shift_labels_or_lose_images_are_refused_by_name(
    root: Path, spoil: Callable[[Path], object], message: str
) -> None:
    spoil(root)
    assert re.search(message, _error(root))


def _rename(folder: Path, name: str) -> None:
    folder.rename(folder.with_name(name))


def _move_down(folder: Path, below: str) -> None:
    names = os.listdir(folder)
    (folder / below).mkdir()
    for name in names:
        (folder / name).rename(folder / below / name)


def _empty(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()


def _flatten(folder: Path) -> None:
    for number, path in enumerate(sorted(folder.rglob("*.JPEG"))):
        path.rename(folder / f"ILSVRC2012_val_{number:08d}.JPEG")
    _empty_folders(folder)


def _empty_folders(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            path.rmdir()


def _archive(folder: Path) -> None:
    _empty(folder)
    (folder / "n01440764.tar").write_bytes(b"")


def _link_to_nothing(folder: Path) -> None:
    folder.rename(folder.with_name("moved"))
    folder.symlink_to("nowhere")


def test_spellings_of_unicode_that_look_alike_are_told_apart_in_the_message(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD"))
    root = _write(_write(tmp_path / "imagenet", (composed, "b"), ("train",)), (decomposed, "b"), ("val",))
    assert r"only train has 'caf\xe9'; only val has 'cafe\u0301'" in _error(root)


def test_a_class_keeps_its_label_whichever_classes_are_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = _write(tmp_path / "imagenet", (GOLDFISH, "n15075141"))
    data = _load(root)
    assert (data.train.labels.tolist(), data.test.labels.tolist()) == ([1] * 3 + [999] * 3,) * 2
    assert capsys.readouterr().err == f"note: {root / 'train'} has 2 of the 1000 classes of imagenet; they keep their labels\n"


def test_other_names_get_labels_in_sorted_order_and_that_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _load(_write(tmp_path / "imagenet", ("dog", "cat"))).test.labels.tolist() == [0] * 3 + [1] * 3
    assert "do not have ILSVRC's names (n01440764): labels are their places in sorted order" in capsys.readouterr().err


def test_class_folders_may_be_links_and_splits_have_timms_names(root: Path, tmp_path: Path) -> None:
    before = _load(root).sha256
    (root / "train" / TENCH).rename(tmp_path / "elsewhere")
    (root / "train" / TENCH).symlink_to(tmp_path / "elsewhere")
    (root / "val").rename(root / "validation")
    assert _load(root).sha256 == before


def test_one_folder_for_training_and_test_is_noted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = _write(tmp_path / "imagenet", splits=("train",))
    (root / "val").symlink_to("train")
    _ = _load(root).test
    assert "are one folder: tests are on training images" in capsys.readouterr().err


def test_files_that_are_no_images_by_their_names_are_passed_over_and_named(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / FIRST / "0.heic").write_bytes(b"x")
    (root / "train" / "classes.txt").write_text("")
    assert len(_load(root).train) == 6
    told = capsys.readouterr().err
    assert f"passed over in {root / 'train'}, no class folders: 'classes.txt'" in told
    assert f"passed over in {root / 'train'}, no images by their names: 'n01440764/0.heic'" in told


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as at:
        here = os.getcwd()
        os.chdir(path.parent)  # the whole path may be too long for a socket
        at.bind(path.name)
        os.chdir(here)


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**30)


UNREADABLE = {
    "dangling": (lambda path: path.symlink_to("nowhere"), "is a link that leads nowhere"),
    "looping": (lambda path: path.symlink_to(path.name), "is a link that leads in a circle"),
    "fifo": (os.mkfifo, "is a FIFO, no plain file"),
    "fifo behind a link": (lambda path: (os.mkfifo(path.with_suffix(".x")), path.symlink_to(path.with_suffix(".x"))), "is a FIFO"),
    "socket": (_socket, "is a socket, no plain file"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "is a device, no plain file"),
    "folder": (Path.mkdir, "is a folder, no plain file"),
    "too large": (_sparse, "has 1,073,741,824 bytes or more"),
    "of the kernel": (lambda path: path.symlink_to("/proc/self/mem"), "cannot be read|no image"),
    "empty": (Path.touch, "empty"),
}


@pytest.mark.parametrize("kind", UNREADABLE)
@pytest.mark.parametrize("name", ["5.JPEG", "\udcff\udcfe.JPEG", "a\nb\x1b[31m.JPEG"], ids=["plain", "not UTF-8", "control"])
def test_what_nobody_can_read_counts_as_corrupt_by_name_and_hangs_nothing(root: Path, kind: str, name: str) -> None:
    make, reason = UNREADABLE[kind]
    make(root / "val" / TENCH / name)  # type: ignore[operator]
    data = _load(root)
    assert len(data.sha256) == 64
    if kind != "of the kernel":
        assert len(contents_sha256(data, threads=2, between=int)) == 64
    loader = FileEvalLoader(data, batch_size=4, processes=ALONE, workers=0)
    assert sum(len(labels) for _, labels in loader) == 6
    assert loader.corrupt == 1
    (told,) = loader.corrupt_files
    assert told.isprintable()
    told.encode("utf-8")
    assert re.search(reason, told), told


@contextmanager
def _as_nobody() -> Iterator[None]:
    """Root may read everything, so root becomes somebody else for a while."""
    if os.geteuid() == 0:
        os.seteuid(65534)
        try:
            yield
        finally:
            os.seteuid(0)
    else:
        yield


def test_a_file_that_this_user_may_not_read_counts_as_corrupt_and_a_class_folder_is_refused(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in (root, *root.parents):
        if folder.stat().st_uid == os.geteuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o055)
    (root / "val" / TENCH / "0.JPEG").chmod(0)
    with _as_nobody():
        data = _load(root)
        assert len(contents_sha256(data, threads=1, between=int)) == 64
        loader = FileEvalLoader(data, batch_size=4, processes=ALONE, workers=0)
        assert sum(len(labels) for _, labels in loader) == 5
        assert loader.corrupt_files == {f"{root / 'val' / TENCH / '0.JPEG'} (may not be read by this user)"}
    (root / "val" / TENCH).chmod(0)
    with _as_nobody():
        assert _error(root) == f"{root / 'val' / TENCH} cannot be read (Permission denied): make it readable"
    (root / "val" / TENCH).chmod(0o755)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "model.safetensors"
    arguments = {"notation": "MgNet[1]-[4]-B^l", "stem": "imagenet", "in_chans": 3, "num_classes": 1000}
    save_checkpoint(timm.create_model("mgnet", **arguments), path, model_name="mgnet", model_args=arguments)
    return path


def _evaluate(checkpoint: Path, data_dir: Path) -> int:
    words = ["evaluate", str(checkpoint), "--data", "imagenet", "--data-dir", str(data_dir), "--device", "cpu", "--workers", "0"]
    return main(words)


def test_evaluate_needs_the_test_images_alone_when_their_folders_tell_the_labels(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _write(tmp_path / "imagenet", splits=("val",), n=1)
    assert _evaluate(checkpoint, tmp_path) == 0
    assert "of 2 images)" in capsys.readouterr().out


def test_evaluate_needs_all_classes_when_their_names_do_not_tell_the_labels(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = _write(tmp_path / "imagenet", tuple(f"class{i:04}" for i in range(999)), ("val",), n=1)
    assert _evaluate(checkpoint, tmp_path) == 66
    assert "val has 999 of 1000 classes, whose names do not tell their labels: put train beside it" in capsys.readouterr().err
    _write(root, ("class0999",), ("val",), n=1)
    assert _load(root).test.labels.tolist() == list(range(1000))
    (root / "train").mkdir()
    for i in range(1000):
        (root / "train" / f"class{i:04}").mkdir()
    assert _load(root).test.labels.tolist() == list(range(1000))


def test_fit_says_what_is_missing_when_only_one_split_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = _write(tmp_path / "imagenet", splits=("val",), n=1)
    words = ["fit", "MgNet[1]-[4]-B^l", "--model-arg", 'stem="imagenet"', "--data", "imagenet", "--data-dir", str(tmp_path)]
    words += ["--runs", str(tmp_path / "runs"), "--device", "cpu", "--track", "later"]
    assert main(words) == 66
    assert f"{root} has no folder train: put the images there as train/<class>/*.JPEG" in capsys.readouterr().err
    (root / "val").rename(root / "train")
    assert main(words) == 66
    assert f"{root} has no folder val: put the images there as" in capsys.readouterr().err


def test_names_that_no_terminal_can_print_end_no_evaluation(
    root: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (root / "val" / TENCH / "\udcff\n\u00e9.JPEG").write_bytes(b"no image")
    with (tmp_path / "out").open("w", encoding="ascii", errors="strict") as terminal:
        monkeypatch.setattr("sys.stdout", terminal)
        assert _evaluate(checkpoint, root.parent) == 0
    printed = (tmp_path / "out").read_text("ascii")
    assert r"corrupt, counted as wrong: " in printed
    assert r"n01440764/\udcff\n\xe9.JPEG (no image" in printed
    assert "of 7 images)" in printed


def test_a_folder_of_data_that_is_no_folder_is_an_error_of_one_line(tmp_path: Path) -> None:
    (tmp_path / "imagenet").symlink_to("imagenet")
    with pytest.raises(
        InputError, match=r"data set imagenet is not at .*imagenet \(Too many levels of symbolic links\): put train/"
    ):
        load_dataset("imagenet", tmp_path)
