"""From a data set to the batches a training takes: on the device where the images fit, from files where they do not."""

from __future__ import annotations

from mgnet_train.config.recipe import Recipe
from mgnet_train.data.dataset import ResidentDataset
from mgnet_train.data.files import StreamingTest, StreamingTraining
from mgnet_train.data.imagenet.images import StreamedDataset
from mgnet_train.data.resident import ResidentTest, ResidentTraining
from mgnet_train.train.distributed import Processes
from mgnet_train.train.step import TestImages
from mgnet_train.train.trainer import TrainingImages

Dataset = ResidentDataset | StreamedDataset


def training_images(data: Dataset, recipe: Recipe, *, seed: int, processes: Processes, workers: int) -> TrainingImages:
    """The training images in batches, for this process."""
    if isinstance(data, ResidentDataset):
        return ResidentTraining(data, recipe, seed=seed, processes=processes)
    return StreamingTraining(data, recipe, seed=seed, processes=processes, workers=workers)


def test_images(data: Dataset, *, batch_size: int, processes: Processes, workers: int) -> TestImages:
    """The test images in batches, for this process."""
    if isinstance(data, ResidentDataset):
        return ResidentTest(data, batch_size=batch_size, processes=processes)
    return StreamingTest(data, batch_size=batch_size, processes=processes, workers=workers)
