"""What is known of each data set before a single file is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mgnet_models import DataSet


@dataclass(frozen=True, kw_only=True)
class Facts:
    """One data set: `tag` is its name in mgnet_models.DATA_SETS, `white` the pixel value that counts as 1.

    `cpu_threads` is set where images are so small that threads wait for each other longer than they work.
    """

    tag: str
    train_images: int
    test_images: int
    test_split: str
    files: str
    white: int = 255
    cpu_threads: int | None = None

    @property
    def model_data(self) -> DataSet:
        """Classes, image size and normalisation, from the one place that has them."""
        from mgnet_models import DATA_SETS

        return DATA_SETS[self.tag]


FACTS: dict[str, Facts] = {
    "digits": Facts(
        tag="digits", train_images=1437, test_images=360, test_split="test", white=16, cpu_threads=1,
        files="nothing, scikit-learn carries it",
    ),
    "mnist": Facts(
        tag="mnist", train_images=60_000, test_images=10_000, test_split="test",
        files="train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte (or .gz)",
    ),
    "cifar10": Facts(
        tag="cifar10", train_images=50_000, test_images=10_000, test_split="test",
        files="data_batch_1 ... data_batch_5 and test_batch, from cifar-10-python.tar.gz",
    ),
    "cifar100": Facts(
        tag="cifar100", train_images=50_000, test_images=10_000, test_split="test",
        files="train and test, from cifar-100-python.tar.gz",
    ),
    "imagenet": Facts(
        tag="in1k", train_images=1_281_167, test_images=50_000, test_split="val",
        files="train/<class>/*.JPEG and val/<class>/*.JPEG, one folder for each class",
    ),
}  # fmt: skip
