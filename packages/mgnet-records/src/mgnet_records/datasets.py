"""What is known of each data set before a file is read: the one table of all packages."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class DataSetInfo:
    """One data set, complete.

    `key` names it in records and commands, `display_name` on pages, `paper_name` in the paper's tables and `timm_tag`
    in timm's `model.tag`. `input_size` is (channels, height, width) in pixels; `mean` and `std` are of pixels from 0 to 1,
    where `pixel_max` counts as 1. `test_split` is the split that tables call the test. `files` says which files a reader
    looks for. `cpu_threads`, a fact of execution, is set where images are so small that threads wait for each other
    longer than they work.
    """

    key: str
    display_name: str
    paper_name: str
    timm_tag: str
    num_classes: int
    input_size: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_pct: float = 1.0
    train_images: int
    test_images: int
    test_split: str = "test"
    pixel_max: int = 255
    files: str
    cpu_threads: int | None = None


_ALL = (
    # scikit-learn's digits: 360 of 1,797 images are held out. The paper does not use it.
    DataSetInfo(
        key="digits",
        display_name="digits",
        paper_name="digits",
        timm_tag="digits",
        num_classes=10,
        input_size=(1, 8, 8),
        mean=(0.3057,),
        std=(0.3762,),
        train_images=1_437,
        test_images=360,
        pixel_max=16,
        files="nothing, scikit-learn carries it",
        cpu_threads=1,
    ),
    DataSetInfo(
        key="mnist",
        display_name="MNIST",
        paper_name="MNIST",
        timm_tag="mnist",
        num_classes=10,
        input_size=(1, 28, 28),
        mean=(0.1307,),
        std=(0.3081,),
        train_images=60_000,
        test_images=10_000,
        files="train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte (or .gz)",
    ),
    DataSetInfo(
        key="cifar10",
        display_name="CIFAR-10",
        paper_name="CIFAR10",
        timm_tag="cifar10",
        num_classes=10,
        input_size=(3, 32, 32),
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2023, 0.1994, 0.2010),
        train_images=50_000,
        test_images=10_000,
        files="cifar-10-python.tar.gz, or what is in it (data_batch_1 ... data_batch_5, test_batch)",
    ),
    DataSetInfo(
        key="cifar100",
        display_name="CIFAR-100",
        paper_name="CIFAR100",
        timm_tag="cifar100",
        num_classes=100,
        input_size=(3, 32, 32),
        mean=(0.5071, 0.4865, 0.4409),
        std=(0.2673, 0.2564, 0.2762),
        train_images=50_000,
        test_images=10_000,
        files="cifar-100-python.tar.gz, or what is in it (train, test)",
    ),
    # The cropped digits without the extra ones. Of the MgNet papers none uses it; the paper on sparse coding does.
    DataSetInfo(
        key="svhn",
        display_name="SVHN",
        paper_name="SVHN",
        timm_tag="svhn",
        num_classes=10,
        input_size=(3, 32, 32),
        mean=(0.4377, 0.4438, 0.4728),
        std=(0.1980, 0.2010, 0.1970),
        train_images=73_257,
        test_images=26_032,
        files="train_32x32.mat and test_32x32.mat",
    ),
    # The 50,000 labeled validation images are what every ImageNet table calls the test.
    DataSetInfo(
        key="imagenet",
        display_name="ImageNet",
        paper_name="ImageNet",
        timm_tag="in1k",
        num_classes=1_000,
        input_size=(3, 224, 224),
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        crop_pct=0.875,
        train_images=1_281_167,
        test_images=50_000,
        test_split="val",
        files="train/<class>/*.JPEG and val/<class>/*.JPEG, one folder for each class",
    ),
)

DATA_SETS: dict[str, DataSetInfo] = {data.key: data for data in _ALL}
BY_TIMM_TAG: dict[str, DataSetInfo] = {data.timm_tag: data for data in _ALL}


def normalized_key(name: str) -> str:
    """The key that a name amounts to when case and separators do not count: CIFAR-100, cifar_100 and cifar100 are one."""
    return "".join(c for c in name.lower() if c.isalnum())


def display_name(key: str) -> str:
    """The name that a reader sees; an unknown key is its own name."""
    return DATA_SETS[key].display_name if key in DATA_SETS else key


def not_the_full_set(name: str, *, n: int, classes: int | None) -> str | None:
    """Why data called `name` with n test images is not that full test set; None when it is, or has a name of its own."""
    key = normalized_key(name)
    data = DATA_SETS.get(key)
    if data is None:
        return None
    if name != key:
        return f"the data set is called {name!r}; write {key!r} for the full set, or give a subset a name of its own"
    if n != data.test_images:
        return f"{name} has {data.test_images} test images, not {n}; give a subset a name of its own"
    if classes is not None and classes != data.num_classes:
        return f"{name} has {data.num_classes} classes, not {classes}; give a subset a name of its own"
    return None
