"""Images in one folder for each class: `root/train/<class>/*` and `root/val/<class>/*`.

Both splits must have the same class folders, each with images. A folder that is no class would shift every label behind it, so
what cannot be told from a class is refused, and what is passed over is named, but for hidden files.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import numpy as np

from mgnet_records.datasets import DATA_SETS
from mgnet_records.errors import printable
from mgnet_train.data.decoding import IMAGE_SUFFIXES, MOST_BYTES
from mgnet_train.data.imagenet.images import ImageFiles, StreamedDataset, stem
from mgnet_train.data.imagenet.names import is_hidden, is_system_folder, shown
from mgnet_train.data.reading import read_file, size_of
from mgnet_train.errors import DataError, note

_FOLDERS = {"train": ("train", "training"), "val": ("val", "validation", "valid")}
_SUFFIXES = tuple(f".{suffix}" for suffix in IMAGE_SUFFIXES)
_WORDNET_ID = re.compile(r"n\d{8}")


def open_folder(name: str, root: Path) -> StreamedDataset:
    """The data set in a folder. Raises DataError, when a split is first needed, for folders that break the rules above."""
    classes = cache(lambda: _labeled_classes(name, root))
    return StreamedDataset(name, lambda split: _find(name, root, split, classes()))


def has_splits(root: Path) -> bool:
    """Whether a folder has the folder of a split."""
    return any(os.path.isdir(root / folder) for folders in _FOLDERS.values() for folder in folders)


def _find(name: str, root: Path, split: str, classes: dict[str, int]) -> ImageFiles:
    """The images of one split, sorted by label and then by name."""
    folder = _split_folder(root, split)
    if folder is None:
        raise DataError(f"{root} has no folder {split}: put the images there as {DATA_SETS[name].files}")
    found, empty, other = [], [], list[str]()
    for kind, label in sorted(classes.items(), key=lambda item: item[1]):
        images, more = _images(folder / kind)
        found += [(label, f"{kind}/{file}") for file in sorted(images, key=lambda file: (os.path.splitext(file)[0], file))]
        empty += [] if images else [kind]
        other += [f"{kind}/{file}" for file in more]
    if not found:
        raise DataError(f"{folder} has no images: put them there as {DATA_SETS[name].files}")
    if empty:
        raise DataError(f"class folders without images in {folder}: {shown(empty)}: get the images or delete them in each split")
    if other:
        note(f"passed over in {folder}, no images by their names: {shown(other)}")
    return _FolderFiles(folder, found)


class _FolderFiles(ImageFiles):
    def __init__(self, root: Path, found: list[tuple[int, str]]) -> None:
        self._root = root
        self.labels = np.array([label for label, _ in found], dtype=np.int64)
        self._files = np.array([os.fsencode(file) for _, file in found])

    def encoded(self, index: int) -> bytes:
        return read_file(self._path(index), most=MOST_BYTES)

    def location(self, index: int) -> str:
        return printable(str(self._path(index)))

    def names(self) -> Iterable[bytes]:
        return map(stem, self._files)

    def sizes(self) -> Iterable[int]:
        return (size_of(self._path(index)) for index in range(len(self)))

    def _path(self, index: int) -> Path:
        return self._root / os.fsdecode(self._files[index])


def _labeled_classes(name: str, root: Path) -> dict[str, int]:
    """The name of each class folder with its label, from the splits that are there. Raises DataError where they are not sure."""
    folders = {split: folder for split in _FOLDERS if (folder := _split_folder(root, split)) is not None}
    if not folders:
        raise DataError(f"{root} has neither train nor val: put the images there as {DATA_SETS[name].files}")
    found = {split: _class_folders(name, folder) for split, folder in folders.items()}
    if len(found) == 2:
        _require_same_classes(folders, found)
        if folders["train"].samefile(folders["val"]):
            note(f"{folders['train']} and {folders['val']} are one folder: tests are on training images")
    split, classes = next(iter(found.items()))
    return dict(zip(classes, _labels(name, folders[split], classes, is_whole="train" in found)))


def _labels(name: str, folder: Path, classes: list[str], *, is_whole: bool) -> list[int]:
    """The label of each class: its place in ILSVRC's list for WordNet ids, else its place among the names in sorted order."""
    count = DATA_SETS[name].num_classes
    strange = [kind for kind in classes if not _WORDNET_ID.fullmatch(kind)]
    if strange and len(strange) < len(classes):
        raise DataError(f"{folder} has folders beside those named by WordNet ids (n01440764): {shown(strange)}: move them away")
    known = _labels_of_wordnet_ids()
    if all(kind in known for kind in classes):
        if len(classes) < count:
            note(f"{folder} has {len(classes)} of the {count} classes of {name}; they keep their labels")
        return [known[kind] for kind in classes]
    if len(classes) > count:
        unknown = [kind for kind in classes if kind not in known]
        raise DataError(f"{folder} has {len(classes)} class folders, more than {count}, such as {shown(unknown)}: move some away")
    if len(classes) < count and not is_whole:
        raise DataError(
            f"{folder} has {len(classes)} of {count} classes, whose names do not tell their labels: put train beside it, with one "
            "folder for each class (they may be empty)"
        )
    note(f"the class folders in {folder} do not have ILSVRC's names (n01440764): labels are their places in sorted order")
    return list(range(len(classes)))


@cache
def _labels_of_wordnet_ids() -> dict[str, int]:
    from timm.data import ImageNetInfo

    return {wordnet_id: label for label, wordnet_id in enumerate(ImageNetInfo().label_names())}


def _split_folder(root: Path, split: str) -> Path | None:
    """The folder of a split, None where there is none."""
    found = [root / name for name in _FOLDERS[split] if os.path.isdir(root / name)]
    if len(found) > 1 and not found[0].samefile(found[1]):
        raise DataError(f"{root} has {found[0].name} and {found[1].name}: leave one of them for {split}")
    if not found:
        for name in _FOLDERS[split]:
            if os.path.lexists(root / name):
                raise DataError(f"{root / name} is no folder, or a link that leads nowhere: put the images of {split} there")
    return found[0] if found else None


def _class_folders(name: str, folder: Path) -> list[str]:
    """The names of the class folders of a split, sorted."""
    classes, passed_over, files = dict[str, tuple[int, int]](), [], []
    for entry in _entries(folder):
        if is_hidden(entry.name):
            continue
        try:
            status = entry.stat()
        except OSError as error:
            raise DataError(
                f"{printable(entry.path)} cannot be read ({error.strerror}) and could be a class: repair or delete it"
            ) from None
        if not os.path.isdir(entry.path):
            files.append(entry.name)
        elif is_system_folder(entry.name):
            passed_over.append(entry.name)
        else:
            classes[entry.name] = (status.st_dev, status.st_ino)
    if not classes:
        raise DataError(f"{folder} has no class folders{_instead(files)}: put the images there as {DATA_SETS[name].files}")
    _require_distinct(folder, classes)
    if passed_over or files:
        note(f"passed over in {folder}, no class folders: {shown(sorted(passed_over + files))}")
    return sorted(classes)


def _instead(files: list[str]) -> str:
    images = [file for file in files if file.lower().endswith(_SUFFIXES)]
    if images:
        return f" but images, {shown(sorted(images), limit=1)}, which must lie in a folder for each class"
    return f" but {shown(sorted(files))}, to be unpacked" if files else ""


def _require_distinct(folder: Path, classes: dict[str, tuple[int, int]]) -> None:
    names, places = dict[str, str](), dict[tuple[int, int], str]()
    for name, place in sorted(classes.items()):
        plain = unicodedata.normalize("NFC", name).casefold()
        if plain in names:
            raise DataError(f"class folders of {folder} differ in case or spelling only: {shown([names[plain], name])}: keep one")
        if place in places:
            raise DataError(f"class folders of {folder} are one and the same, by a link: {shown([places[place], name])}: keep one")
        names[plain], places[place] = name, name


def _require_same_classes(folders: dict[str, Path], found: dict[str, list[str]]) -> None:
    differences = []
    for split, classes in found.items():
        if len(classes) == 1 and classes[0] in _FOLDERS[split]:
            raise DataError(f"{folders[split]} holds {classes[0]!r} again and nothing else: move what is in it one folder up")
    for split, other in (("train", "val"), ("val", "train")):
        if only := sorted({*found[split]} - {*found[other]}):
            differences.append(f"only {folders[split].name} has {shown(only)}")
    if differences:
        raise DataError(f"class folders of {folders['train'].parent} differ, {'; '.join(differences)}: each split needs all")


def _images(folder: Path) -> tuple[list[str], list[str]]:
    """The names of the images in a class folder, and of the rest that is not hidden.

    A name makes an image; that it is a broken link or a FIFO is found out, and counted, when it is read.
    """
    images, other, folders = [], [], []
    for entry in _entries(folder):
        if is_hidden(entry.name) or is_system_folder(entry.name):
            continue
        if entry.name.lower().endswith(_SUFFIXES):
            images.append(entry.name)
        else:
            other.append(entry.name)
            folders += [entry.name] if os.path.isdir(entry.path) else []
    if folders and not images:
        raise DataError(f"{printable(str(folder))} holds folders, {shown(sorted(folders))}, and no images: move the images into it")
    return images, sorted(other)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise DataError(f"{printable(str(folder))} cannot be read ({error.strerror}): make it readable") from None
