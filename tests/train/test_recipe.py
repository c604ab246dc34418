"""Recipes are frozen values that say exactly what each source says."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mgnet_records.datasets import DATA_SETS
from mgnet_train import InputError, Recipe, find_recipe
from mgnet_train.config.recipes import REASONS, recipe_names
from mgnet_train.train.optim import average_decay, learning_rate, make_average, make_optimizer

ALL = [(name, dataset) for dataset in DATA_SETS for name in recipe_names(dataset)]


def _rates(name: str, dataset: str, model: str = "mgnet_2_2_2_2_c256_bl") -> list[tuple[int, float]]:
    """(first epoch, rate) of each constant piece."""
    recipe = find_recipe(name, dataset=dataset, model=model)
    rates = [learning_rate(recipe, epoch) for epoch in range(recipe.epochs)]
    return [(epoch, rate) for epoch, rate in enumerate(rates) if epoch == 0 or rate != rates[epoch - 1]]


def test_version_2_divides_the_rate_by_ten_every_30_of_150_epochs_on_cifar_and_imagenet() -> None:
    for dataset in ("cifar10", "cifar100", "imagenet"):
        pieces = _rates("paper-v2", dataset)
        assert [epoch for epoch, _ in pieces] == [0, 30, 60, 90, 120]
        assert [rate for _, rate in pieces] == pytest.approx([0.1, 0.01, 1e-3, 1e-4, 1e-5])


def test_version_2_drops_once_at_epoch_50_of_60_on_mnist() -> None:
    assert [epoch for epoch, _ in _rates("paper-v2", "mnist")] == [0, 50]


def test_the_released_code_drops_after_49_epochs_and_then_every_50() -> None:
    assert [epoch for epoch, _ in _rates("released-code", "cifar100")] == [0, 49, 99, 149, 199, 249, 299]
    for epoch in range(300):
        by_the_code = 0.1 * 0.1 ** ((epoch + 1) // 50)
        recipe = find_recipe("released-code", dataset="cifar100", model="x")
        assert learning_rate(recipe, epoch) == pytest.approx(by_the_code)


@pytest.mark.parametrize(
    "name, dataset, model, epochs, batch, decay",
    [
        ("paper-v2", "mnist", "mgresnet18", 60, 128, 5e-4),
        ("paper-v2", "cifar10", "mgresnet34", 150, 128, 5e-4),
        ("paper-v2", "imagenet", "mgnet_2_2_2_2_c64_128_256_512_bl_224", 150, 256, 1e-4),
        ("paper-v1", "mnist", "mgresnet18", 60, 128, 1e-4),
        ("paper-v1", "cifar10", "mgresnet18", 120, 128, 1e-4),
        ("paper-v1", "cifar10", "mgresnet34", 120, 128, 1e-3),
        ("paper-v1", "cifar10", "gdfi_lin_both", 120, 128, 1e-4),
        ("released-code", "cifar10", "mgnet_2_2_2_2_c256_bl", 300, 128, 5e-4),
    ],
)
def test_a_recipe_has_its_sources_epochs_batch_and_decay(
    name: str, dataset: str, model: str, epochs: int, batch: int, decay: float
) -> None:
    recipe = find_recipe(name, dataset=dataset, model=model)
    assert (recipe.epochs, recipe.batch_size, recipe.weight_decay) == (epochs, batch, decay)
    assert (recipe.lr, recipe.momentum, recipe.nesterov, recipe.decay_norm_and_bias) == (0.1, 0.9, False, True)
    assert (recipe.label_smoothing, recipe.mixup, recipe.ema_decay) == (0, 0, 0)


def test_the_papers_optimizer_is_plain_momentum_with_one_decay_for_all_parameters() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
    optimizer = make_optimizer(network, find_recipe("paper-v2", dataset="cifar10", model="x"))
    assert [group["weight_decay"] for group in optimizer.param_groups] == [5e-4]
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(network.parameters()))
    assert optimizer.param_groups[0]["nesterov"] is False


def test_the_modern_optimizer_spares_scales_shifts_and_biases_from_decay() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
    groups = make_optimizer(network, find_recipe("modern", dataset="cifar10", model="x")).param_groups
    assert {id(p) for p in groups[0]["params"]} == {id(network[0].weight)}
    assert groups[1]["weight_decay"] == 0
    assert len(groups[1]["params"]) == 3


def test_the_average_moves_a_tensor_once_though_two_modules_share_it() -> None:
    recipe = find_recipe("modern", dataset="digits", model="x").with_overrides({"ema_decay": "0.9"})
    shared = torch.nn.Linear(1, 1, bias=False)
    network = torch.nn.Sequential(shared, shared, shared)
    torch.nn.init.zeros_(shared.weight)
    average = make_average(network, recipe)
    assert average is not None
    average.update_parameters(network)  # the first update copies
    torch.nn.init.ones_(shared.weight)
    average.update_parameters(network)
    assert average.module[0].weight.item() == pytest.approx(1 - average_decay(0.9, 1))


def test_the_decay_of_the_average_rises_to_that_of_the_recipe() -> None:
    decays = [average_decay(0.99, updates) for updates in range(2000)]
    assert decays[0] == 0
    assert decays == sorted(decays)
    assert decays[1000] == decays[-1] == 0.99


def test_the_average_has_running_statistics_of_its_own() -> None:
    """Averaged by the same factors as the weights: in between those of the network at different steps."""
    recipe = find_recipe("modern", dataset="digits", model="x").with_overrides({"ema_decay": "0.9"})
    network = torch.nn.BatchNorm1d(1)
    average = make_average(network, recipe)
    assert average is not None
    expected = 0.0
    for updates in range(5):
        torch.nn.init.constant_(network.running_mean, float(updates))  # type: ignore[arg-type]
        network.num_batches_tracked.fill_(updates)  # type: ignore[union-attr]
        average.update_parameters(network)
        expected += (1 - average_decay(0.9, updates)) * (updates - expected)
    assert average.module.running_mean.item() == pytest.approx(expected)
    assert 0 < expected < 4
    assert average.module.num_batches_tracked == 4


@pytest.mark.parametrize("name, dataset", ALL)
def test_the_hash_depends_on_every_field_that_acts_and_not_on_the_name(name: str, dataset: str) -> None:
    recipe = find_recipe(name, dataset=dataset, model="x")
    assert recipe.model_copy(update={"name": "other"}).sha256 == recipe.sha256
    changes = {"epochs": 1, "lr": 0.3, "pad": 3, "flip": not recipe.flip, "momentum": 0.5}
    for field, value in changes.items():
        assert recipe.model_copy(update={field: value}).sha256 != recipe.sha256


@given(st.integers(1, 400), st.floats(1e-6, 10), st.integers(2, 4096))
def test_overrides_given_as_text_become_the_fields(epochs: int, lr: float, batch: int) -> None:
    recipe = find_recipe("paper-v2", dataset="cifar10", model="x")
    changed = recipe.with_overrides({"epochs": str(epochs), "lr": repr(lr), "batch_size": str(batch)})
    assert (changed.epochs, changed.lr, changed.batch_size) == (epochs, lr, batch)


def test_an_overridden_recipe_does_not_keep_its_name() -> None:
    recipe = find_recipe("paper-v2", dataset="cifar10", model="x")
    assert recipe.with_overrides({"milestones": "10,20"}).name == "paper-v2+"
    assert recipe.with_overrides({"epochs": "150"}).name == "paper-v2"


@pytest.mark.parametrize(
    "overrides, message",
    [
        ({"lr": "-1"}, r"recipe field lr='-1': .*greater than 0"),
        ({"lr": "nan"}, r"recipe field lr='nan'"),
        ({"epochs": "many"}, r"recipe field epochs='many'"),
        ({"learning_rate": "1"}, r"unknown recipe field 'learning_rate'"),
        ({"name": "mine"}, r"unknown recipe field 'name'"),
        ({"milestones": "30,20"}, r"milestones=\(30, 20\) must be positive and increasing"),
        ({"schedule": "cosine"}, r"have no meaning for schedule=cosine"),
        ({"accumulate": "100"}, r"accumulate=100 leaves fewer than 2 images of batch_size=128 in a micro-batch: use at most 64"),
        ({"precision": "mixed"}, r"unknown recipe field 'precision'"),
        ({"init": "xavier"}, r"recipe field init='xavier'"),
    ],
)
def test_a_wrong_field_is_refused_in_one_line(overrides: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        find_recipe("paper-v2", dataset="cifar10", model="x").with_overrides(overrides)
    assert "\n" not in str(caught.value)


def test_a_recipe_that_does_not_exist_is_answered_with_near_names() -> None:
    with pytest.raises(InputError, match=r"unknown recipe 'paper-v3': did you mean .*paper-v2"):
        find_recipe("paper-v3", dataset="cifar10", model="x")


def test_a_recipe_is_refused_on_a_data_set_it_says_nothing_about() -> None:
    with pytest.raises(InputError, match=r"'paper-v1' says nothing about imagenet: choose one of paper-v2, modern"):
        find_recipe("paper-v1", dataset="imagenet", model="x")


def test_every_recipe_gives_its_reasons() -> None:
    assert {name for name, _ in ALL} == set(REASONS)
    assert all(REASONS[name] for name in REASONS)


def test_a_recipe_cannot_be_changed_in_place() -> None:
    recipe: Recipe = find_recipe("digits", dataset="digits", model="x")
    with pytest.raises(ValueError, match="frozen"):
        recipe.lr = 1.0


def test_cosine_falls_from_the_full_rate_after_the_warm_up() -> None:
    recipe = find_recipe("modern", dataset="cifar10", model="x")
    rates = [learning_rate(recipe, epoch) for epoch in range(recipe.epochs)]
    assert rates[recipe.warmup_epochs] == recipe.lr == max(rates)
    assert rates[: recipe.warmup_epochs] == sorted(rates[: recipe.warmup_epochs])
    assert rates[recipe.warmup_epochs :] == sorted(rates[recipe.warmup_epochs :], reverse=True)
    assert 0 < rates[-1] < 0.01 * recipe.lr
