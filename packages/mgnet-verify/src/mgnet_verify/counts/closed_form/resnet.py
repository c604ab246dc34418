"""Parameters and multiply-adds of the paper's ResNet and pre-act ResNet by arithmetic, for each interpretation of B^{l,0}.

A block is r + A sigma B sigma(r) (or its post-activation twin): B is the first 3x3 convolution, A the second. On each
coarser grid the first block pools: B^{l,0} leads from c_{l-1} to c_l at stride 2, and a 1x1 shortcut R does too.

The counts in the paper's tables decide two questions. A shared A includes that of the pooling block. A shared B includes it
too, after a 1x1 lift L^l from c_{l-1} to c_l: the text's separate 3x3 B^{l,0} fits none of the 32 table rows that share B. The
three interpretations with a 1x1 convolution have one count of parameters and three of multiply-adds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from mgnet_verify.counts.closed_form.mgnet import Entry, halved

DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
CHANNELS = (64, 128, 256, 512)
PoolingB = Literal["lift_s1", "lift", "proj1x1", "text"]


@dataclass(frozen=True, kw_only=True)
class Interpretation:
    """B^{l,0} where B is shared: kernel width and stride of its own convolution, stride of B^l after it (None: no B^l)."""

    kernel: int
    stride: int
    stride_B: int | None


INTERPRETATIONS: dict[PoolingB, Interpretation] = {
    "lift_s1": Interpretation(kernel=1, stride=1, stride_B=2),
    "lift": Interpretation(kernel=1, stride=2, stride_B=1),
    "proj1x1": Interpretation(kernel=1, stride=2, stride_B=None),
    "text": Interpretation(kernel=3, stride=2, stride_B=None),
}


@dataclass(frozen=True, kw_only=True)
class ResNetShape:
    """One network of Tables 2 and 3: blocks on each grid, sharing, and where BatchNorm and ReLU stand."""

    blocks: tuple[int, ...]
    share_A: bool
    share_B: bool
    preact: bool
    imagenet: bool = False
    channels: tuple[int, ...] = CHANNELS
    pooling_B: PoolingB = "lift_s1"


def table(shape: ResNetShape, *, in_chans: int, num_classes: int, size: tuple[int, int]) -> list[Entry]:
    """Every operator of every grid on one image of `size`; the convention is that of `closed_form`."""
    c, imagenet = shape.channels, shape.imagenet
    h, w = (halved(size[0]), halved(size[1])) if imagenet else size
    theta = (49 if imagenet else 9) * in_chans * c[0]
    norm = 2 * (c[-1] if shape.preact else c[0])  # pre-act: before the head; else after the stem
    entries = [
        Entry(grid=0, operator="theta", runs=1, macs=theta * h * w, parameters=theta),
        Entry(grid=0, operator="sigma", runs=1, macs=0, parameters=norm),
    ]
    h, w = (halved(h), halved(w)) if imagenet else (h, w)
    for grid in range(len(c)):
        fine = h * w
        h, w = (halved(h), halved(w)) if grid else (h, w)
        entries.extend(_grid(shape, grid, fine, h * w))
    products = c[-1] * num_classes
    return [*entries, Entry(grid=0, operator="classifier", runs=1, macs=products, parameters=products + num_classes)]


def _grid(shape: ResNetShape, grid: int, fine: int, pixels: int) -> Iterator[Entry]:
    """`fine` and `pixels`: those of the grid before and of this one."""
    n, c = shape.blocks[grid], shape.channels[grid]
    kernel = 9 * c**2
    kernels_A = 1 if shape.share_A else n
    yield Entry(grid=grid + 1, operator="A", runs=n, macs=n * kernel * pixels, parameters=kernels_A * kernel)
    if grid == 0:
        kernels_B = 1 if shape.share_B else n
        yield Entry(grid=1, operator="B", runs=n, macs=n * kernel * pixels, parameters=kernels_B * kernel)
    else:
        c_fine = shape.channels[grid - 1]
        yield from _smoothers(shape, grid, c_fine, fine, pixels)
        yield Entry(grid=grid + 1, operator="R", runs=1, macs=c_fine * c * pixels, parameters=c_fine * c)
    yield Entry(grid=grid + 1, operator="sigma", runs=_norms(shape, grid)[0], macs=0, parameters=_norms(shape, grid)[1])


def _smoothers(shape: ResNetShape, grid: int, c_fine: int, fine: int, pixels: int) -> Iterator[Entry]:
    """B on a coarse grid: of n blocks, the first pools."""
    n, c = shape.blocks[grid], shape.channels[grid]
    kernel = 9 * c**2
    if not shape.share_B:
        weights = (n - 1) * kernel + 9 * c_fine * c
        yield Entry(grid=grid + 1, operator="B", runs=n, macs=weights * pixels, parameters=weights)
        return
    pooling = INTERPRETATIONS[shape.pooling_B]
    own = pooling.kernel**2 * c_fine * c
    runs = n if pooling.stride_B else n - 1
    at = fine if pooling.stride == 1 else pixels
    yield Entry(grid=grid + 1, operator="B^{l,0}", runs=1, macs=own * at, parameters=own)
    yield Entry(grid=grid + 1, operator="B", runs=runs, macs=runs * kernel * pixels, parameters=kernel if runs else 0)


def _norms(shape: ResNetShape, grid: int) -> tuple[int, int]:
    """How many BatchNorms a grid has, and their parameters. Post-activation: one after each convolution and the shortcut.
    Pre-activation: one before each convolution of a block, on its input's channels; shortcuts bare."""
    n, c = shape.blocks[grid], shape.channels[grid]
    if shape.preact:
        start = shape.channels[grid - 1] if grid else c
        return 2 * n, 2 * (start + (2 * n - 1) * c)
    count = 2 * n + (grid > 0)
    return count, 2 * count * c


def parameters(shape: ResNetShape, *, in_chans: int, num_classes: int) -> int:
    """Kernels, BatchNorm and the classifier; running statistics not counted."""
    entries = table(shape, in_chans=in_chans, num_classes=num_classes, size=(64, 64))  # any size: parameters do not depend on it
    return sum(entry.parameters for entry in entries)


def macs(shape: ResNetShape, *, in_chans: int, num_classes: int, size: tuple[int, int]) -> int:
    """Multiply-adds of one image, see `closed_form.CONVENTION`. Sharing A changes none of them."""
    return sum(entry.macs for entry in table(shape, in_chans=in_chans, num_classes=num_classes, size=size))
