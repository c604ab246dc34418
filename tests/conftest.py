"""What every test runs under: one torch thread a worker, and the Hypothesis profile that HYPOTHESIS_PROFILE names.

quick (default) and ci draw the same examples each time; nightly draws new ones, prints how to replay a failure, and runs
the tests marked nightly too.
"""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Verbosity, register_random, settings

_SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
settings.register_profile("quick", max_examples=25, deadline=None, derandomize=True, database=None, suppress_health_check=_SLOW)
settings.register_profile("ci", settings.get_profile("quick"), max_examples=300, print_blob=True)
settings.register_profile(
    "nightly",
    max_examples=20_000,
    deadline=None,
    derandomize=False,
    print_blob=True,
    verbosity=Verbosity.normal,
    suppress_health_check=_SLOW,
)
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "quick")
settings.load_profile(PROFILE)


class _TorchRandom:
    """Torch's global generator with the three methods by which Hypothesis seeds and restores a generator."""

    def seed(self, seed: int) -> None:
        torch.manual_seed(seed)

    def getstate(self) -> torch.Tensor:
        return torch.get_rng_state()

    def setstate(self, state: torch.Tensor) -> None:
        torch.set_rng_state(state)


_TORCH_RANDOM = _TorchRandom()
register_random(_TORCH_RANDOM)

# Two workers with two threads each run four times slower than with one.
torch.set_num_threads(1)

# Autograd settles at its first use which threads it needs: none, unless fake tensors (torch.export, torch.compile) were there
# before. Then it starts some, and a forked process, in which several tests train, could not compute a gradient any more.
torch.ones(1, requires_grad=True).sum().backward()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if PROFILE == "nightly":
        return
    skip = pytest.mark.skip(reason="long profile: run `make nightly`")
    for item in items:
        if item.get_closest_marker("nightly"):
            item.add_marker(skip)


def _inherited() -> tuple[Path, dict[str, str]]:
    """What processes of later tests would get from this one; MLflow's own variables are its business."""
    return Path.cwd(), {key: value for key, value in os.environ.items() if key.startswith(("PYTHON", "MGNET", "OMP"))}


@pytest.fixture(autouse=True)
def _environment_is_left_as_found() -> Iterator[None]:
    """Set up first, so that it looks after monkeypatch has undone its own."""
    before = _inherited()
    yield
    assert _inherited() == before


@pytest.fixture(autouse=True)
def _seeded() -> None:
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
