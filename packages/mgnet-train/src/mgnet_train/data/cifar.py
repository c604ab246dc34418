"""CIFAR's batches, which are pickles: read with an unpickler that builds arrays and calls nothing else."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mgnet_train.data.dataset import ResidentDataset, Split
from mgnet_train.errors import DataError

_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}


def read_cifar10(folder: Path) -> ResidentDataset:
    """CIFAR-10 from data_batch_1 ... data_batch_5 and test_batch."""
    batches = [_read_batch(folder / f"data_batch_{number}", "labels", 10) for number in range(1, 6)]
    train = Split(images=torch.cat([b.images for b in batches]), labels=torch.cat([b.labels for b in batches]))
    return ResidentDataset(name="cifar10", train=train, test=_read_batch(folder / "test_batch", "labels", 10))


def read_cifar100(folder: Path) -> ResidentDataset:
    """CIFAR-100 from train and test, with the fine labels."""
    train, test = (_read_batch(folder / name, "fine_labels", 100) for name in ("train", "test"))
    return ResidentDataset(name="cifar100", train=train, test=test)


def _read_batch(path: Path, labels_key: str, classes: int) -> Split:
    """Images (n, 3, 32, 32) and labels. Raises DataError, with the file's name, when it is missing or not what it should be."""
    if not path.exists():
        raise DataError(f"{path} is missing: unpack the python version of the data set into {path.parent}")
    try:
        batch = _Unpickler(io.BytesIO(path.read_bytes()), encoding="bytes").load()
        values: dict[str, Any] = {k.decode() if isinstance(k, bytes) else k: v for k, v in batch.items()}
        images = torch.from_numpy(np.asarray(values["data"], dtype=np.uint8).reshape(-1, 3, 32, 32).copy())
        labels = torch.tensor(values[labels_key], dtype=torch.int64)
        split = Split(images=images, labels=labels)
    except DataError as error:
        raise DataError(f"{path} {error}") from None
    except Exception as error:  # a corrupt pickle can raise anything
        raise DataError(f"{path} is corrupt ({type(error).__name__}: {error}): get it again") from None
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise DataError(f"{path} has labels outside 0..{classes - 1}: get it again")
    return split


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise DataError(f"asks to call {module}.{name}, which no CIFAR file does: get it again")
        return super().find_class(module, name)
