"""From a data set to the loaders of a run: on the device where the images fit, from files where they do not."""

from __future__ import annotations

from mgnet_train.config.recipe import Recipe
from mgnet_train.data.dataset import EvalLoader, ResidentDataset, TrainLoader
from mgnet_train.data.files import FileEvalLoader, FileTrainLoader
from mgnet_train.data.imagenet.images import StreamedDataset
from mgnet_train.data.resident import ResidentEvalLoader, ResidentTrainLoader
from mgnet_train.train.distributed import Processes

Dataset = ResidentDataset | StreamedDataset


def make_train_loader(data: Dataset, recipe: Recipe, *, seed: int, processes: Processes, workers: int) -> TrainLoader:
    """This process's part of the training images. Raises InputError for a recipe that the data cannot follow."""
    if isinstance(data, ResidentDataset):
        return ResidentTrainLoader(data, recipe, seed=seed, processes=processes)
    return FileTrainLoader(data, recipe, seed=seed, processes=processes, workers=workers)


def make_eval_loader(data: Dataset, *, batch_size: int, processes: Processes, workers: int) -> EvalLoader:
    """This process's part of the test images."""
    if isinstance(data, ResidentDataset):
        return ResidentEvalLoader(data, batch_size=batch_size, processes=processes)
    return FileEvalLoader(data, batch_size=batch_size, processes=processes, workers=workers)
