"""One example on which a property is checked: which integers go into the weights, and which image goes into the network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from mgnet_verify.check.executions import Execution, executions_of
from mgnet_verify.check.integer_weights import integer_copy, integer_image
from mgnet_verify.specification import Array


@dataclass(frozen=True, kw_only=True, eq=False)
class Example:
    """`seed` decides the weights. The image (b, c, h, w) is `image` if given, else drawn from the seed up to `amplitude`.

    `nonzeros` is the number of nonzero weights for each output channel of a convolution, `active` the part of the channels of
    each normalization whose weight is not 0. `executions` are those that the property is to run on: all that the network has,
    unless named; with `slow` also those that take seconds to set up.
    """

    seed: int
    shape: tuple[int, int, int, int]
    amplitude: int = 3
    nonzeros: int = 3
    active: float = 1.0
    image: Array | None = None
    executions: tuple[Execution, ...] | None = None
    slow: bool = False

    def pixels(self) -> Array:
        """The image: integers in float64."""
        if self.image is not None:
            return self.image
        return integer_image(self.shape, np.random.default_rng([self.seed, 1]), self.amplitude)

    def tensor(self) -> Tensor:
        """The image for torch, in memory of its own."""
        return torch.from_numpy(self.pixels().copy())

    def integer_copy(self, model: nn.Module) -> nn.Module:
        """A copy of the model with this example's integer weights."""
        return integer_copy(model, np.random.default_rng([self.seed, 0]), nonzeros=self.nonzeros, active=self.active)

    def of(self, model: nn.Module) -> tuple[Execution, ...]:
        """The executions to run a network on."""
        executions = executions_of(model) if self.executions is None else self.executions
        return tuple(execution for execution in executions if self.slow or not execution.slow)

    def __str__(self) -> str:
        image = f"amplitude {self.amplitude}" if self.image is None else f"image {self.image.tolist()}"
        return f"seed {self.seed}, input {'x'.join(map(str, self.shape))}, {image}"


@dataclass(frozen=True, kw_only=True)
class ExampleResult:
    """What a passed example reports: bits of float64 used (of 53), and the largest inexact error over its bound."""

    bits_used: float | None = None
    largest_gap: float | None = None


# Returns when the property holds on the example; raises Violation when it does not, NotDecided when the example cannot tell.
Check = Callable[[nn.Module, Example], ExampleResult]
