"""The data sets whose results may stand beside each other, and what makes a record one of the full test set."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """A full test set: the key used in records, the name shown, how many images and classes it has, (channels, height, width)."""

    key: str
    shown: str
    test_images: int
    classes: int
    image: tuple[int, int, int]


DATA_SETS = {
    data.key: data
    for data in (
        DataSet(key="cifar100", shown="CIFAR-100", test_images=10_000, classes=100, image=(3, 32, 32)),
        DataSet(key="cifar10", shown="CIFAR-10", test_images=10_000, classes=10, image=(3, 32, 32)),
        # The 50,000 labelled validation images, which every ImageNet table calls the test.
        DataSet(key="imagenet", shown="ImageNet", test_images=50_000, classes=1_000, image=(3, 224, 224)),
        DataSet(key="mnist", shown="MNIST", test_images=10_000, classes=10, image=(1, 28, 28)),
        # scikit-learn's digits: 360 of 1,797 images are held out.
        DataSet(key="digits", shown="digits", test_images=360, classes=10, image=(1, 8, 8)),
    )
}


def plain_key(name: str) -> str:
    """The key a name amounts to when case and separators do not count: CIFAR-100, cifar_100 and cifar100 are one."""
    return "".join(c for c in name.lower() if c.isalnum())


def not_the_full_set(name: str, *, n: int, classes: int | None) -> str | None:
    """Why a record that calls its data `name` is not of that full test set; None when it is, or has a name of its own."""
    key = plain_key(name)
    data = DATA_SETS.get(key)
    if data is None:
        return None
    if name != key:
        return f"the data set is called {name!r}; write {key!r} for the full set, or give a subset a name of its own"
    if n != data.test_images:
        return f"{name} has {data.test_images} test images, not {n}; give a subset a name of its own"
    if classes is not None and classes != data.classes:
        return f"{name} has {data.classes} classes, not {classes}; give a subset a name of its own"
    return None


def shown(key: str) -> str:
    """The name a reader sees."""
    return DATA_SETS[key].shown if key in DATA_SETS else key
