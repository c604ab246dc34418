"""Loss landscapes: filter by filter as long as the weights, deterministic, resumable."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from mgnet_train import InputError, Options, RunSpec, fit, load_dataset
from mgnet_train.cli.main import main
from mgnet_train.data.augment import Normalize
from mgnet_train.experiments.landscape import Plane, compute, directions
from mgnet_train.train.distributed import Processes

PLANE = Plane(points=3, radius=0.5, images=100, seed=0)


@pytest.fixture
def network(tiny_spec: Callable[..., RunSpec]) -> torch.nn.Module:
    spec = tiny_spec()
    return spec.network.make(spec.recipe.init, 0)


def test_each_filter_of_a_direction_is_as_long_as_the_networks(network: torch.nn.Module) -> None:
    weights, length = dict(network.named_parameters()), torch.linalg.vector_norm
    for direction in directions(network, seed=1):
        assert set(direction) == {name for name, weight in weights.items() if weight.ndim > 1}
        for name, tensor in direction.items():
            axes = tuple(range(1, tensor.ndim))
            assert torch.allclose(length(tensor, dim=axes), length(weights[name], dim=axes), rtol=1e-4)


def test_the_two_directions_differ_and_depend_on_the_seed_only(network: torch.nn.Module) -> None:
    first, second = directions(network, seed=1)
    torch.rand(3)
    again, _ = directions(network, seed=1)
    other, _ = directions(network, seed=2)
    for name in first:
        assert torch.equal(first[name], again[name])
        assert not torch.equal(first[name], second[name])
        assert not torch.equal(first[name], other[name])


def test_the_centre_is_the_loss_of_the_network_and_the_network_comes_back(network: torch.nn.Module, tmp_path: Path) -> None:
    data = load_dataset("digits", tmp_path)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    record = compute(network, data, PLANE, tmp_path / "a.json", subject="x")  # type: ignore[arg-type]
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name])
    images = Normalize(data.info, torch.device("cpu"))(data.train.images[:100])
    with torch.no_grad():
        loss = F.cross_entropy(network.eval()(images), data.train.labels[:100])
    assert record["losses"][1][1] == pytest.approx(float(loss), rel=1e-5)


def test_an_interrupted_landscape_continues_to_the_same_numbers(network: torch.nn.Module, tmp_path: Path) -> None:
    data = load_dataset("digits", tmp_path)
    path = tmp_path / "a.json"
    whole = compute(network, data, PLANE, path, subject="x")  # type: ignore[arg-type]
    cut = json.loads(path.read_text())
    cut["losses"] = [cut["losses"][0]]
    path.write_text(json.dumps(cut))
    assert compute(network, data, PLANE, path, subject="x") == whole  # type: ignore[arg-type]
    with pytest.raises(InputError, match="holds another landscape"):
        compute(network, data, PLANE, path, subject="y")  # type: ignore[arg-type]


def test_the_command_draws_two_networks_side_by_side(
    tiny_spec: Callable[..., RunSpec], quietly: Options, one_process: Processes, tmp_path: Path
) -> None:
    paths = [str(fit(tiny_spec(seed=seed, epochs="1"), quietly, one_process).folder / "model.safetensors") for seed in (0, 1)]
    assert main(["landscape", *paths, "--data", "digits", "--points", "3", "--images", "50", "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "landscape.png").read_bytes().startswith(b"\x89PNG")
    assert len(list((tmp_path / "out").glob("*.json"))) == 2
