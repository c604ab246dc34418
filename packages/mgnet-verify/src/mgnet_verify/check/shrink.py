"""From a failing example to a small one: Hypothesis searches for the simplest image on which the property still fails."""

from __future__ import annotations

import time
from dataclasses import replace

import hypothesis
import numpy as np
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample
from hypothesis.extra.numpy import arrays
from torch import nn

from mgnet_verify.check.example import Check, Example
from mgnet_verify.errors import Violation
from mgnet_verify.specification import Array

SECONDS = 20.0


def shrunk(model: nn.Module, check: Check, example: Example, *, smallest: int) -> tuple[Example, Violation] | None:
    """The example with one image, few pixels from `smallest` on and few entries that are not 0, and how it fails.

    The weights stay. Returns None if no drawn image fails, as for a defect that needs large numbers or more than one image.
    The search ends after SECONDS.
    """
    deadline = time.monotonic() + SECONDS

    def fails(image: Array) -> bool:
        return time.monotonic() < deadline and violation(model, check, _with(example, image)) is not None

    quiet = hypothesis.settings(
        max_examples=200,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink],
    )
    try:
        image = hypothesis.find(_images(example.shape[1], smallest), fails, settings=quiet)
    except NoSuchExample:
        return None
    small = _with(example, image)
    outcome = violation(model, check, small)
    return None if outcome is None else (small, outcome)


def violation(model: nn.Module, check: Check, example: Example) -> Violation | None:
    """How the property fails on the example, None if it holds or is not decided."""
    try:
        check(model, example)
    except Violation as outcome:
        return outcome
    except Exception:  # an image that the network or the property cannot take is no smaller failure
        pass
    return None


def _images(channels: int, smallest: int) -> st.SearchStrategy[Array]:
    sizes = st.tuples(st.just(1), st.just(channels), *[st.integers(smallest, smallest + 2)] * 2)
    return sizes.flatmap(lambda shape: arrays(np.float64, shape, elements=st.integers(-3, 3).map(float), fill=st.just(0.0)))


def _with(example: Example, image: Array) -> Example:
    return replace(example, shape=image.shape, image=image, amplitude=3)
