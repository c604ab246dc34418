"""The built-in default: scikit-learn's 1,797 real images of 8x8 handwritten digits, with one fixed split."""

from __future__ import annotations

import torch

from mgnet_train.data.dataset import ResidentDataset, Split
from mgnet_train.data.rng import generator

_FOLD = 5


def read_digits() -> ResidentDataset:
    """1,437 training and 360 test images, (n, 1, 8, 8), pixels 0..16.

    The split is stratified: of all images, in a fixed random order and then by class, every fifth is a test image. The
    writers of the two splits overlap, so the accuracy compares networks with each other and nothing else.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = torch.from_numpy(bunch.images).to(torch.uint8)[:, None]
    labels = torch.from_numpy(bunch.target).to(torch.int64)
    # The parts of this stream are a part of the split's definition: other ones would be another data set.
    shuffled = torch.randperm(len(labels), generator=generator(0, "order", 0))
    by_class = shuffled[torch.argsort(labels[shuffled], stable=True)]
    is_test = torch.zeros(len(labels), dtype=torch.bool)
    is_test[by_class[::_FOLD]] = True
    train, test = (Split(images=images[mask], labels=labels[mask]) for mask in (~is_test, is_test))
    return ResidentDataset(name="digits", train=train, test=test)
