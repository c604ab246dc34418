"""One example on which a property is tried: which integers go into the weights and which image goes into the network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from mgnet_verify.check.integer_weights import exactified, integer_image
from mgnet_verify.specification import Array


@dataclass(frozen=True, kw_only=True, eq=False)
class Example:
    """`seed` decides the weights; the image (b, c, h, w) is `image` if given, else drawn from the seed up to `amplitude`."""

    seed: int
    shape: tuple[int, int, int, int]
    amplitude: int = 3
    nonzeros: int = 3
    image: Array | None = None

    def pixels(self) -> Array:
        """The image, of integers in float64."""
        return (
            integer_image(self.shape, np.random.default_rng([self.seed, 1]), self.amplitude) if self.image is None else self.image
        )

    def tensor(self) -> Tensor:
        """The image for torch, of its own memory."""
        return torch.from_numpy(self.pixels().copy())

    def exactified(self, model: nn.Module) -> nn.Module:
        """The model with this example's integer weights."""
        return exactified(model, np.random.default_rng([self.seed, 0]), nonzeros=self.nonzeros)

    def __str__(self) -> str:
        image = f"amplitude {self.amplitude}" if self.image is None else f"image {self.image.tolist()}"
        return f"seed {self.seed}, input {'x'.join(map(str, self.shape))}, {image}"


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What an example that held leaves behind: bits of float64 used, the largest gap of an inexact comparison over its bound."""

    bits_used: float | None = None
    largest_gap: float | None = None
