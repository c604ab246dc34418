"""The readers of the real formats, on small files in those formats that the tests write."""

from __future__ import annotations

import gzip
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import MNIST

from mgnet_train import load_dataset
from mgnet_train.config.recipes import find_recipe
from mgnet_train.data.files import FileEvalLoader, FileTrainLoader
from mgnet_train.data.imagenet.images import StreamedDataset
from mgnet_train.errors import DataError
from mgnet_train.train.distributed import Processes

RANDOM = np.random.default_rng(0)


def _idx(array: np.ndarray[Any, Any]) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture
def mnist(tmp_path: Path) -> Path:
    folder = tmp_path / "mnist"
    folder.mkdir()
    for prefix, n in (("train", 12), ("t10k", 5)):
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(_idx(RANDOM.integers(0, 256, (n, 28, 28), dtype=np.uint8)))
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(_idx(RANDOM.integers(0, 10, n, dtype=np.uint8)))
    return folder


def test_mnist_is_read_as_torchvision_reads_it(mnist: Path, tmp_path: Path) -> None:
    ours = load_dataset("mnist", tmp_path)
    (tmp_path / "MNIST").mkdir()
    (tmp_path / "MNIST" / "raw").symlink_to(mnist)
    for train, split in ((True, ours.train), (False, ours.test)):
        theirs = MNIST(tmp_path, train=train)
        assert torch.equal(split.images[:, 0], theirs.data)
        assert torch.equal(split.labels, theirs.targets)


def test_compressed_mnist_has_the_digest_of_the_plain_one(mnist: Path, tmp_path: Path) -> None:
    before = load_dataset("mnist", tmp_path).sha256
    for path in list(mnist.iterdir()):
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert load_dataset("mnist", tmp_path).sha256 == before


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda content: content[:-1], r"train-images-idx3-ubyte promises 9408 bytes and has 9407"),
        (lambda content: b"\x01" + content[1:], r"train-images-idx3-ubyte is no idx file"),
        (lambda content: content[:3], r"train-images-idx3-ubyte is no idx file"),
    ],
)
def test_a_corrupt_idx_file_is_named(mnist: Path, tmp_path: Path, damage: Callable[[bytes], bytes], message: str) -> None:
    path = mnist / "train-images-idx3-ubyte"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=message):
        load_dataset("mnist", tmp_path)


def test_a_corrupt_gzip_file_is_named(mnist: Path, tmp_path: Path) -> None:
    path = mnist / "t10k-labels-idx1-ubyte"
    path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes())[:-6])
    path.unlink()
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte\.gz cannot be read"):
        load_dataset("mnist", tmp_path)


def _batch(n: int, key: Any, classes: int) -> dict[Any, Any]:
    return {
        b"data": RANDOM.integers(0, 256, (n, 3072), dtype=np.uint8),
        key: RANDOM.integers(0, classes, n).tolist(),
        b"filenames": [b"image.png"] * n,
    }


@pytest.fixture
def cifar10(tmp_path: Path) -> Path:
    folder = tmp_path / "cifar10"
    folder.mkdir()
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        (folder / name).write_bytes(pickle.dumps(_batch(4, b"labels", 10), protocol=2))
    return folder


def test_cifar10_is_read_in_the_order_of_its_batches(cifar10: Path, tmp_path: Path) -> None:
    data = load_dataset("cifar10", tmp_path)
    batches = [pickle.loads((cifar10 / f"data_batch_{i}").read_bytes(), encoding="bytes") for i in range(1, 6)]
    pixels = np.concatenate([batch[b"data"] for batch in batches]).reshape(-1, 3, 32, 32)
    assert np.array_equal(data.train.images.numpy(), pixels)
    assert data.train.labels.tolist() == [label for batch in batches for label in batch[b"labels"]]
    assert data.test.images.shape == (4, 3, 32, 32)


def test_cifar100_takes_the_fine_labels(tmp_path: Path) -> None:
    folder = tmp_path / "cifar100"
    folder.mkdir()
    batch = _batch(6, "fine_labels", 100) | {"coarse_labels": [0] * 6}
    for name in ("train", "test"):
        (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
    assert load_dataset("cifar100", tmp_path).train.labels.tolist() == batch["fine_labels"]


class _Attack:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (os.mkdir, ("attacked",))


def test_a_pickle_that_calls_something_is_rejected_and_nothing_is_called(
    cifar10: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (cifar10 / "data_batch_3").write_bytes(pickle.dumps({b"data": _Attack()}, protocol=2))
    with pytest.raises(DataError, match=r"data_batch_3 asks to call .*mkdir, which no CIFAR file does"):
        load_dataset("cifar10", tmp_path)
    assert not (tmp_path / "attacked").exists()


def test_a_truncated_or_mislabeled_cifar_file_is_named(cifar10: Path, tmp_path: Path) -> None:
    path = cifar10 / "test_batch"
    content = path.read_bytes()
    path.write_bytes(content[:-50])
    with pytest.raises(DataError, match="test_batch is corrupt"):
        load_dataset("cifar10", tmp_path)
    path.write_bytes(pickle.dumps(_batch(2, b"labels", 10) | {b"labels": [3, 11]}, protocol=2))
    with pytest.raises(DataError, match=r"test_batch has labels outside 0\.\.9"):
        load_dataset("cifar10", tmp_path)


@pytest.mark.parametrize("name, files", [("mnist", "train-images-idx3"), ("cifar10", "data_batch_1"), ("imagenet", "JPEG")])
def test_a_missing_data_set_says_where_its_files_belong(tmp_path: Path, name: str, files: str) -> None:
    with pytest.raises(
        DataError,
        match=rf"data set {name} is not at {tmp_path / name}: put .*{files}.* there, or name another folder with --data-dir",
    ):
        load_dataset(name, tmp_path)


@pytest.fixture
def imagenet(tmp_path: Path) -> Path:
    """Two classes; in the test split one file each is truncated, empty, gray, CMYK, and a PNG named .JPEG."""
    root = tmp_path / "imagenet"
    for split, n in (("train", 6), ("val", 4)):
        for name in ("n01440764", "n01443537"):
            (root / split / name).mkdir(parents=True)
            for i in range(n):
                pixels = RANDOM.integers(0, 256, (40 + i, 50, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{i}.JPEG")
    first = root / "val" / "n01440764"
    whole = (first / "0.JPEG").read_bytes()
    (first / "0.JPEG").write_bytes(whole[: len(whole) // 2])
    (first / "1.JPEG").write_bytes(b"")
    Image.fromarray(RANDOM.integers(0, 256, (40, 50), dtype=np.uint8)).save(first / "2.JPEG")
    Image.new("CMYK", (50, 40)).save(first / "3.JPEG")
    Image.new("RGBA", (50, 40)).save(root / "val" / "n01443537" / "0.JPEG", format="PNG")
    return root


ALONE = Processes(rank=0, world=1, device=torch.device("cpu"))


def _folder(imagenet: Path) -> StreamedDataset:
    data = load_dataset("imagenet", imagenet.parent)
    assert isinstance(data, StreamedDataset)
    return data


def test_corrupt_test_files_count_as_images_and_are_named_but_never_replaced(imagenet: Path) -> None:
    test = FileEvalLoader(_folder(imagenet), batch_size=3, processes=ALONE, workers=0)
    labels = torch.cat([labels for _, labels in test])
    assert labels.tolist() == [0, 0, 1, 1, 1, 1]
    assert test.corrupt == 2
    folder = imagenet / "val" / "n01440764"
    truncated, empty = sorted(test.corrupt_files)
    assert truncated.startswith(f"{folder / '0.JPEG'} (OSError: image file is truncated")
    assert empty == f"{folder / '1.JPEG'} (empty)"


def test_grey_and_cmyk_images_become_three_channels_of_the_networks_size(imagenet: Path) -> None:
    test = FileEvalLoader(_folder(imagenet), batch_size=8, processes=ALONE, workers=0)
    assert next(iter(test))[0].shape == (6, 3, 224, 224)


def _streamed(imagenet: Path, *, workers: int, first_step: int = 0, rank: int = 0, world: int = 1) -> list[Any]:
    recipe = find_recipe("paper-v2", dataset="imagenet", model="x").with_overrides({"batch_size": "4"})
    processes = Processes(rank=rank, world=world, device=torch.device("cpu"))
    train = FileTrainLoader(_folder(imagenet), recipe, seed=0, processes=processes, workers=workers)
    return list(train.epoch(1, first_step=first_step))


def test_workers_restarts_and_processes_do_not_change_a_single_pixel(imagenet: Path) -> None:
    alone = _streamed(imagenet, workers=0)
    with_workers = _streamed(imagenet, workers=2)
    late = _streamed(imagenet, workers=0, first_step=1)
    half = _streamed(imagenet, workers=0, rank=1, world=2)
    assert len(alone) == 3
    for batch, other in zip(alone, with_workers, strict=True):
        assert torch.equal(batch.images, other.images)
    for batch, other in zip(alone[1:], late, strict=True):
        assert torch.equal(batch.images, other.images)
    for batch, other in zip(alone, half, strict=True):
        assert torch.equal(batch.images[1::2], other.images)


def test_a_corrupt_training_file_is_replaced_by_one_of_its_class_and_too_many_stop_the_run(imagenet: Path) -> None:
    files = sorted((imagenet / "train" / "n01443537").iterdir())
    files[0].write_bytes(b"\xff\xd8 garbage")
    labels = torch.cat([batch.labels for batch in _streamed(imagenet, workers=0)])
    assert sorted(labels.tolist()) == [0] * 6 + [1] * 6
    files[1].write_bytes(b"")
    with pytest.raises(DataError, match=r"2 corrupt images, such as .*0\.JPEG"):
        _streamed(imagenet, workers=0)


def test_the_digest_of_a_folder_changes_with_a_name_or_a_size(imagenet: Path) -> None:
    before = _folder(imagenet).sha256
    path = imagenet / "train" / "n01440764" / "0.JPEG"
    path.rename(path.with_name("00.JPEG"))
    renamed = _folder(imagenet).sha256
    path.with_name("00.JPEG").write_bytes(b"shorter")
    assert len({before, renamed, _folder(imagenet).sha256}) == 3


def test_files_and_folders_that_begin_with_a_dot_are_no_images_and_no_classes(imagenet: Path) -> None:
    before = _folder(imagenet)
    digest, labels = before.sha256, before.train.labels.tolist()
    (imagenet / "train" / ".ipynb_checkpoints").mkdir()
    (imagenet / "train" / ".ipynb_checkpoints" / "0.JPEG").write_bytes(b"a copy")
    (imagenet / "train" / "n01440764" / "._0.JPEG").write_bytes(b"macOS's attributes")
    after = _folder(imagenet)
    assert (after.sha256, after.train.labels.tolist()) == (digest, labels)
