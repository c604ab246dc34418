"""When the Winograd convolution is used instead of a direct one, and in which blocks: numbers, all in one place."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import nn

# Channels come in multiples of this: the widest vector of float32 that the C kernel knows.
CHANNEL_MULTIPLE = 16


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Thresholds and block sizes; the defaults are read from `python -m benchmarks.convolution`.

    min_channels_float32, min_channels_bfloat16: below so many input or output channels the transforms cost more than the
        products save. In bfloat16 the direct convolution is twice as fast where the processor multiplies bfloat16.
    min_tiles_float32, min_tiles_bfloat16: below so many 4x4 tiles of output, over all images, the transform of the weight costs
        more than is saved.
    block: tiles that a thread takes through all steps at a time: its data stay in an L2 cache of 1 MiB.
    shared_block: tiles in a block that all threads share, for the gradient with respect to a large weight.
    max_own_sums: up to so many float32 numbers each thread has sums of its own for that gradient; above, all threads share one.
    """

    min_channels_float32: int = 48
    min_channels_bfloat16: int = 64
    min_tiles_float32: int = 32
    min_tiles_bfloat16: int = 64
    block: int = 48
    shared_block: int = 192
    max_own_sums: int = 2**20

    def __post_init__(self) -> None:
        """Raises ValueError for a block without a tile."""
        if min(self.block, self.shared_block) < 1:
            raise ValueError(f"blocks hold at least one tile: block={self.block}, shared_block={self.shared_block}")

    def allows(self, dtype: torch.dtype, c_in: int, c_out: int, tiles: int) -> bool:
        """Whether a convolution of this dtype and size is one that the C kernel can compute, and faster than a direct one."""
        if dtype == torch.float32:
            min_channels, min_tiles = self.min_channels_float32, self.min_tiles_float32
        elif dtype == torch.bfloat16:
            min_channels, min_tiles = self.min_channels_bfloat16, self.min_tiles_bfloat16
        else:
            return False
        in_lanes = c_in % CHANNEL_MULTIPLE == c_out % CHANNEL_MULTIPLE == 0
        return in_lanes and min(c_in, c_out) >= max(1, min_channels) and tiles >= max(1, min_tiles)

    def as_arguments(self) -> dict[str, int]:
        """The keyword arguments of the operators in `torch.ops.mgnet`."""
        return {name: getattr(self, name) for name in _FIELDS}


_FIELDS = tuple(field.name for field in fields(Policy))
DEFAULT_POLICY = Policy()


def count_tiles(images: int, height: int, width: int) -> int:
    """4x4 tiles that cover the outputs of so many images."""
    return images * -(-height // 4) * -(-width // 4)


def is_conv3x3(convolution: nn.Conv2d) -> bool:
    """Whether a layer has the geometry of `mgnet_kernels.conv3x3`: 3x3, stride 1, zero padding 1, no dilation, one group."""
    padding = convolution.padding
    return (
        tuple(convolution.kernel_size) == (3, 3)
        and tuple(convolution.stride) == (1, 1)
        and (padding == "same" or tuple(padding) == (1, 1))
        and tuple(convolution.dilation) == (1, 1)
        and convolution.groups == 1
        and convolution.padding_mode == "zeros"
    )
