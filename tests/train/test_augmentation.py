"""The batched augmentation on the device equals torchvision's per-image transforms in distribution."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.transforms import v2

from mgnet_records.datasets import DATA_SETS
from mgnet_train import load_dataset
from mgnet_train.data.augment import AugmentationParameters, Normalize, RandomCrop, random_flip

CPU = torch.device("cpu")


def _images(n: int = 6, channels: int = 2, size: int = 5) -> torch.Tensor:
    return torch.randint(1, 256, (n, channels, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@given(st.integers(0, 3), st.booleans(), st.integers(0, 100))
def test_each_image_is_the_crop_that_torchvision_makes_at_the_same_offset(pad: int, flip: bool, epoch: int) -> None:
    images = _images()
    parameters = AugmentationParameters.of_epoch(0, epoch, len(images), pad=pad, flip=flip, device=CPU)
    index = torch.tensor([4, 0, 4, 2])
    ours = random_flip(RandomCrop(images, pad=pad)(index, parameters), index, parameters)
    for place, i in enumerate(index.tolist()):
        theirs = v2.functional.crop(v2.functional.pad(images[i], [pad]), int(parameters.top[i]), int(parameters.left[i]), 5, 5)
        if parameters.flipped[i]:
            theirs = v2.functional.horizontal_flip(theirs)
        assert torch.equal(ours[place], theirs)


def _chi_squared(counts: torch.Tensor) -> float:
    expected = counts.sum() / counts.numel()
    return float(((counts - expected) ** 2 / expected).sum())


def test_crops_and_flips_are_uniform_and_independent_as_torchvisions_are() -> None:
    """162 equally likely cases, 161 degrees of freedom: both statistics lie below the 1 - 1e-6 quantile, 257."""
    n, pad = 40_000, 4
    parameters = AugmentationParameters.of_epoch(1, 0, n, pad=pad, flip=True, device=CPU)
    ours = torch.bincount((parameters.top * 9 + parameters.left) * 2 + parameters.flipped.long(), minlength=162).double()
    assert _chi_squared(ours) < 257

    crop, mirror = v2.RandomCrop(1, padding=0), v2.RandomHorizontalFlip()
    crop.size = (1, 1)
    field = torch.arange(81).view(1, 9, 9)
    torch.manual_seed(0)
    places = [int(crop(field)) * 2 + int(mirror(torch.tensor([[[0, 1]]]))[0, 0, 0]) for _ in range(4_000)]
    theirs = torch.bincount(torch.tensor(places), minlength=162).double()
    assert _chi_squared(theirs) < 257


def test_a_recipe_without_flip_never_flips_and_without_pad_never_crops() -> None:
    parameters = AugmentationParameters.of_epoch(0, 0, 1000, pad=0, flip=False, device=CPU)
    assert not parameters.flipped.any()
    assert not parameters.top.any()
    assert not parameters.left.any()


def test_normalized_training_pixels_of_digits_have_zero_mean_and_unit_deviation() -> None:
    data = load_dataset("digits", None)  # type: ignore[arg-type]
    both = torch.cat([data.train.images, data.test.images])
    pixels = Normalize(DATA_SETS["digits"], CPU)(both).double()
    assert abs(float(pixels.mean())) < 5e-3
    assert abs(float(pixels.std()) - 1) < 5e-3


def test_the_digits_split_is_stratified_fixed_and_disjoint() -> None:
    data = load_dataset("digits", None)  # type: ignore[arg-type]
    assert (len(data.train), len(data.test)) == (1437, 360)
    share = torch.bincount(data.test.labels) / (torch.bincount(data.train.labels) + torch.bincount(data.test.labels))
    assert float((share - 0.2).abs().max()) < 0.01
    assert data.sha256 == "d318136e75d44ad1468ebc0527bd5d3e1f5309816022c0f2eff7d930501ba6e2"
