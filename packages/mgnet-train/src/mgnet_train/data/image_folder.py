"""Images in one folder for each class, too many for memory: which files there are, and reading one."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms

from mgnet_train.data.facts import FACTS, Facts
from mgnet_train.errors import DataError

_SUFFIXES = {".jpeg", ".jpg", ".png"}


@dataclass(frozen=True, kw_only=True)
class ImageFiles:
    """Files (path, class), in the order of their names."""

    paths: tuple[Path, ...]
    labels: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.paths)


@dataclass(frozen=True)
class FolderDataset:
    """A data set of image files: `root/train/<class>/*` and `root/val/<class>/*`."""

    name: str
    root: Path

    @property
    def facts(self) -> Facts:
        return FACTS[self.name]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of what the network sees, in pixels."""
        return self.facts.model_data.input_size[1:]

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The names of the class folders, sorted; the place is the label."""
        train = self.root / "train"
        names = sorted(p.name for p in train.iterdir() if p.is_dir()) if train.is_dir() else []
        if not names:
            raise DataError(f"{train} has no class folders: put the images there as {self.facts.files}")
        if len(names) > self.facts.model_data.num_classes:
            raise DataError(f"{train} has {len(names)} class folders, more than {self.facts.model_data.num_classes}")
        return tuple(names)

    @cached_property
    def train(self) -> ImageFiles:
        return self._files("train")

    @cached_property
    def test(self) -> ImageFiles:
        return self._files("val")

    @property
    def sha256(self) -> str:
        """Digest of the names and sizes of all files; of their content it would take hours."""
        digest = hashlib.sha256()
        for path in (*self.train.paths, *self.test.paths):
            digest.update(f"{path.relative_to(self.root).as_posix()} {path.stat().st_size}\n".encode())
        return digest.hexdigest()

    def _files(self, split: str) -> ImageFiles:
        found = [
            (path, label)
            for label, name in enumerate(self.classes)
            for path in sorted((self.root / split / name).glob("*"))
            if path.suffix.lower() in _SUFFIXES
        ]
        if not found:
            raise DataError(f"{self.root / split} has no images: put them there as {self.facts.files}")
        return ImageFiles(paths=tuple(path for path, _ in found), labels=tuple(label for _, label in found))


def read_image(path: Path) -> Tensor | None:
    """The image as (3, height, width) uint8 RGB, whatever its mode; None when the file is damaged."""
    try:
        with Image.open(path) as image:
            return transforms.pil_to_tensor(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError):
        return None
