"""Parameters of the paper's ResNet and pre-act ResNet by arithmetic, with A and B per block or shared on each grid.

A block is r + A sigma B sigma(r) (or its post-activation twin): B is the first 3x3 convolution, A the second. On each
coarser grid the first block pools: B^{l,0} leads from c_{l-1} to c_l at stride 2, and a 1x1 shortcut R does too.

Two readings the printed counts force. A shared A includes that of the pooling block. A shared B includes it too, after a
1x1 lift L^l from c_{l-1} to c_l: the text's separate 3x3 B^{l,0} fits none of the 32 rows that share B.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
CHANNELS = (64, 128, 256, 512)


@dataclass(frozen=True, kw_only=True)
class ResNetShape:
    """One network of Tables 2 and 3: blocks on each grid, sharing, and where BatchNorm and ReLU stand."""

    blocks: tuple[int, ...]
    share_A: bool
    share_B: bool
    preact: bool
    stem_kernel: int = 3
    channels: tuple[int, ...] = CHANNELS


def parameters(shape: ResNetShape, *, in_chans: int, num_classes: int) -> int:
    """Kernels, BatchNorm and the classifier; running statistics not counted."""
    c = shape.channels
    stem = shape.stem_kernel**2 * in_chans * c[0]
    kernels = sum(_kernels_A(shape, grid) + _kernels_B(shape, grid) for grid in range(len(c)))
    shortcuts = sum(fine * coarse for fine, coarse in pairwise(c))
    return stem + kernels + shortcuts + _norms(shape) + c[-1] * num_classes + num_classes


def _kernels_A(shape: ResNetShape, grid: int) -> int:
    return (1 if shape.share_A else shape.blocks[grid]) * 9 * shape.channels[grid] ** 2


def _kernels_B(shape: ResNetShape, grid: int) -> int:
    c, n = shape.channels[grid], shape.blocks[grid]
    if grid == 0:
        return (1 if shape.share_B else n) * 9 * c**2
    fine = shape.channels[grid - 1]
    return 9 * c**2 + fine * c if shape.share_B else (n - 1) * 9 * c**2 + 9 * fine * c


def _norms(shape: ResNetShape) -> int:
    """Post-activation: one after the stem, each convolution and each shortcut. Pre-activation: one before each convolution
    of a block, on its input's channels, and one before the head; shortcuts bare."""
    c, n = shape.channels, shape.blocks
    if not shape.preact:
        return 2 * c[0] + sum(4 * n_l * c_l for n_l, c_l in zip(n, c)) + sum(2 * coarse for coarse in c[1:])
    inputs = sum((2 * n_l - 1) * c_l for n_l, c_l in zip(n, c)) + sum((c[0], *c[:-1]))
    return 2 * inputs + 2 * c[-1]
