"""How a network starts: every parameter and buffer after `init_weights`, by the rule that its family states."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from itertools import combinations
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from mgnet_verify.check.example import Example, ExampleResult
from mgnet_verify.errors import NotDecided, Violation
from mgnet_verify.network.protocol import array
from mgnet_verify.network.subject import Start, family_of, inner_of, subject_of
from mgnet_verify.specification import Array

# Standard deviations of an estimate that are allowed; a normal one exceeds them once in 10^15, short chi-squares once in 10^8.
_ALLOWED = 8.0


def starts_as_stated(model: nn.Module, example: Example) -> ExampleResult:
    """A new network is as `initializes_as_stated` says; for one that nobody has trained."""
    require_start(inner_of(model), "kaiming")
    return initializes_as_stated(model, example)


def initializes_as_stated(model: nn.Module, example: Example) -> ExampleResult:
    """`init_weights` sets every tensor by its rule: kernels by Kaiming's (fan-out, ReLU) or torch's, sigma as ReLU alone.

    The squares of N normal numbers over their stated variance have mean 1 and, being chi-square, standard deviation sqrt(2 / N);
    those of N uniform ones sqrt(0.8 / N); fourth powers of normal ones, over 3, sqrt(32 / (3 N)). Eight of those are allowed.
    No two kernels start alike.
    """
    for scheme in ("kaiming", "torch"):
        started = copy.deepcopy(inner_of(model)).float().cpu()
        with torch.no_grad():
            for tensor in started.state_dict().values():
                tensor.fill_(3)
        torch.manual_seed(example.seed)
        cast(Any, started).init_weights(scheme)
        require_start(started, scheme)
    return ExampleResult()


def require_start(started: nn.Module, scheme: str) -> None:
    """Violation unless each tensor is what the scheme says."""
    rules = dict(_rules(started, scheme))
    state = started.state_dict()
    for name, tensor in state.items():
        rule = rules.get(name)
        if rule is None:
            raise NotDecided(f"no rule is known for the start of {name}", retry=False)
        _require(name, array(tensor), rule)
    _require_together([array(state[name]) / rule.deviation for name, rule in rules.items() if rule.deviation and name in state])
    _require_apart(state)


def _rules(model: nn.Module, scheme: str) -> Iterator[tuple[str, Start]]:
    """By the class of the module, then by the family, which goes before."""
    for path, module in model.named_modules():
        prefix = f"{path}." if path else ""
        if isinstance(module, nn.BatchNorm2d):
            for name, value in (("weight", 1), ("bias", 0), ("running_mean", 0), ("running_var", 1), ("num_batches_tracked", 0)):
                yield f"{prefix}{name}", Start(value=value)
        elif isinstance(module, nn.Conv2d | nn.Linear):
            bound = 1 / math.sqrt(module.weight[0].numel())
            yield f"{prefix}bias", Start(bound=bound)
            if scheme == "kaiming" and isinstance(module, nn.Conv2d):
                fan_out = module.out_channels * module.kernel_size[0] * module.kernel_size[1]
                yield f"{prefix}weight", Start(deviation=math.sqrt(2 / fan_out))
            else:
                yield f"{prefix}weight", Start(bound=bound)
    family = family_of(model)
    if family is not None:
        yield from family.starts(model)
    else:
        subject_of(model)


def _require(name: str, values: Array, rule: Start) -> None:
    n = values.size
    if rule.value is not None:
        if (values != rule.value).any():
            raise Violation(f"{name} starts at {values.ravel()[0]:.4g}, its rule says {rule.value:.4g}")
        return
    largest = float(np.abs(values).max())
    if rule.bound is not None:
        if largest > rule.bound * (1 + 1e-6):
            raise Violation(f"{name} starts up to {largest:.4g}, its rule says uniform within {rule.bound:.4g}")
        mean, allowed = 3 * float((values**2).mean()) / rule.bound**2, _ALLOWED * math.sqrt(0.8 / n)
    else:
        assert rule.deviation is not None  # the only one left
        mean, allowed = float((values**2).mean()) / rule.deviation**2, _ALLOWED * math.sqrt(2 / n)
    if abs(mean - 1) > allowed or (n > 1 and largest == 0):
        raise Violation(f"{name} starts with {mean:.3g} times the variance of its rule, in {n} numbers")


def _require_together(normal: list[Array]) -> None:
    """All normal weights, over their deviations: mean, variance, and the fourth moment, which tells normal from uniform."""
    if not normal:
        return
    z = np.concatenate([values.ravel() for values in normal])
    for what, mean, deviation in (
        ("mean", float(z.mean()), 1.0),
        ("variance", float((z**2).mean()) - 1, math.sqrt(2)),
        ("fourth moment", float((z**4).mean()) / 3 - 1, math.sqrt(96) / 3),
    ):
        if abs(mean) > _ALLOWED * deviation / math.sqrt(z.size):
            raise Violation(f"{z.size} weights together are not normal: their {what} is off by {mean:.3g}")


def _require_apart(state: dict[str, Tensor]) -> None:
    """No two kernels of one shape are the same numbers."""
    drawn = [(name, tensor) for name, tensor in state.items() if tensor.dim() > 1]
    for (name, tensor), (other, there) in combinations(drawn, 2):
        if tensor.shape == there.shape and torch.equal(tensor, there):
            raise Violation(f"{name} and {other} start with the same numbers")
