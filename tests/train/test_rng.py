"""Order and augmentation depend on (seed, epoch, image) and on nothing that happened before."""

from __future__ import annotations

import random

import torch
from hypothesis import given
from hypothesis import strategies as st

from mgnet_train import load_dataset
from mgnet_train.config.recipes import find_recipe
from mgnet_train.data.resident import ResidentTrainLoader
from mgnet_train.data.rng import epoch_order, stream_seed
from mgnet_train.train.distributed import Processes

seeds = st.integers(0, 2**31)
epochs = st.integers(0, 300)


@given(seeds, epochs, st.integers(1, 500))
def test_an_epoch_visits_every_image_once(seed: int, epoch: int, images: int) -> None:
    assert sorted(epoch_order(seed, epoch, images).tolist()) == list(range(images))


@given(seeds, epochs)
def test_the_order_ignores_the_state_of_every_global_generator(seed: int, epoch: int) -> None:
    first = epoch_order(seed, epoch, 50)
    torch.manual_seed(random.randrange(2**30))
    torch.rand(7)
    assert torch.equal(epoch_order(seed, epoch, 50), first)


def test_epochs_and_seeds_have_different_orders() -> None:
    assert not torch.equal(epoch_order(0, 0, 100), epoch_order(0, 1, 100))
    assert not torch.equal(epoch_order(0, 0, 100), epoch_order(1, 0, 100))


def test_a_stream_seed_is_the_same_number_in_every_version() -> None:
    assert stream_seed(0, "order", 0) == 3471081512423777433


def _process(rank: int, world: int) -> Processes:
    return Processes(rank=rank, world=world, device=torch.device("cpu"))


@given(st.integers(0, 22), st.sampled_from([0.0, 0.2]))
def test_a_later_start_within_an_epoch_gives_the_same_batches(first_step: int, mixup: float) -> None:
    recipe = find_recipe("digits", dataset="digits", model="x").with_overrides({"mixup": str(mixup), "flip": "true"})
    train = ResidentTrainLoader(load_dataset("digits", None), recipe, seed=3, processes=_process(0, 1))  # type: ignore[arg-type]
    whole = list(train.epoch(5, first_step=0))[first_step:]
    late = list(train.epoch(5, first_step=first_step))
    assert len(whole) == len(late) == train.steps - first_step
    assert all(torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels) for a, b in zip(whole, late))


@given(st.integers(2, 5), st.sampled_from([0.0, 0.2]))
def test_processes_together_see_the_images_that_one_process_sees(world: int, mixup: float) -> None:
    recipe = find_recipe("digits", dataset="digits", model="x").with_overrides({"mixup": str(mixup)})
    data = load_dataset("digits", None)  # type: ignore[arg-type]
    alone = next(ResidentTrainLoader(data, recipe, seed=1, processes=_process(0, 1)).epoch(2, first_step=22))
    parts = [
        next(ResidentTrainLoader(data, recipe, seed=1, processes=_process(rank, world)).epoch(2, first_step=22))
        for rank in range(world)
    ]
    assert all(part.step_images == len(alone.labels) for part in parts)
    for rank, part in enumerate(parts):
        assert torch.equal(part.images, alone.images[rank::world])
        assert torch.equal(part.labels, alone.labels[rank::world])
