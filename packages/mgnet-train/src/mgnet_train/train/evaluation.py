"""A checkpoint counted on the test images of a data set, outside of any run."""

from __future__ import annotations

from pathlib import Path

import mgnet_models
from mgnet_train.config.recipes import find_recipe
from mgnet_train.data.loaders import test_images
from mgnet_train.data.loading import load_dataset
from mgnet_train.errors import UserError
from mgnet_train.train.distributed import start_processes
from mgnet_train.train.precision import Arithmetic
from mgnet_train.train.step import Evaluation, evaluate


def evaluate_checkpoint(
    path: Path, *, dataset: str, data_dir: Path, source: str | None, workers: int, device: str, precision: str
) -> tuple[Evaluation, list[str]]:
    """The counts, and the places of the damaged images. Raises UserError when checkpoint and data do not fit."""
    data = load_dataset(dataset, data_dir, source=source, workers=workers)
    try:
        network = mgnet_models.load_checkpoint(path)
    except ValueError as error:
        raise UserError(str(error)) from None
    classes = data.facts.model_data.num_classes
    found = getattr(network, "num_classes", classes)
    if found != classes:
        raise UserError(f"{path} tells {found} classes apart and {dataset} has {classes}: name its own data set with --data")
    processes = start_processes(device)
    recipe = find_recipe(None, dataset=dataset, model="").with_overrides({"precision": precision})
    arithmetic = Arithmetic(recipe, processes.device)
    images = test_images(data, batch_size=256, processes=processes, workers=workers)
    counts = evaluate(
        arithmetic.place(network),
        images,
        classes=classes,
        arithmetic=arithmetic,
        processes=processes,
        between_batches=lambda: None,
    )
    return counts, sorted(getattr(images, "damaged", ()))
