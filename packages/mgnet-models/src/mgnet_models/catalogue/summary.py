"""What a network is made of, part by part: stem, each grid, head, with exact parameters and multiply-adds.

Multiply-adds are those of convolutions and linear layers, padded zeros counted, for one image, as torch's own counter
sees them on the meta device.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

_ALL_LEVELS = 999


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part of a network. `size` is (height, width) of what it makes; fields that it does not have are None."""

    name: str
    size: tuple[int, int] | None
    c_u: int | None
    c_f: int | None
    nu: int | None
    sharing: str | None
    parameters: int
    macs: int


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The parts of a network for one image shape (channels, height, width); `str()` is a table."""

    network: str
    image: tuple[int, int, int]
    parts: tuple[Part, ...]

    @property
    def parameters(self) -> int:
        """All parameters."""
        return sum(part.parameters for part in self.parts)

    @property
    def macs(self) -> int:
        """Multiply-adds of convolutions and linear layers for one image."""
        return sum(part.macs for part in self.parts)

    def __str__(self) -> str:
        head = ("part", "size", "c_u", "c_f", "nu", "sharing", "parameters", "MACs (conv + linear)")
        rows = [head, *(_cells(part) for part in self.parts)]
        rows.append(("total", "", "", "", "", "", f"{self.parameters:,}", f"{self.macs:,}"))
        return "\n".join([f"{self.network} on {'x'.join(map(str, self.image))}", *align(rows, left=(0, 5))])


def summary(model: nn.Module, image: Sequence[int] | None = None) -> Summary:
    """Count `model` on an image (channels, height, width), by default the one of its timm configuration.

    The model itself is not run or changed. A network without grids is counted by its top modules. Raises ValueError where a copy
    of the network cannot run on the meta device: it reads a number, or a method of it is bound to the weights of the original.
    """
    channels, height, width = _image_of(model) if image is None else image
    twin = _on_meta_device(model)
    dtype = next((parameter.dtype for parameter in twin.parameters() if parameter.is_floating_point()), None)
    sizes: dict[str, tuple[int, int]] = {}
    parts = _parts(twin)
    for name, part in parts.items():
        part.register_forward_hook(partial(_note_size, sizes, name))
    try:
        with FlopCounterMode(display=False, depth=_ALL_LEVELS) as counter, torch.no_grad():
            twin(torch.empty(1, channels, height, width, device="meta", dtype=dtype))
    except (RuntimeError, NotImplementedError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{type(twin).__name__} on {channels}x{height}x{width} cannot be counted on the meta device: {reason}"
        ) from None
    flops = counter.get_flop_counts()
    network = type(twin).__name__
    return Summary(
        network=str(getattr(model, "notation", network)),
        image=(channels, height, width),
        parts=tuple(
            Part(
                name=name,
                size=sizes.get(name),
                c_u=_width(part, "A", 1),
                c_f=_width(part, "A", 0),
                nu=getattr(part, "nu", None),
                sharing=_sharing(part),
                parameters=sum(parameter.numel() for parameter in part.parameters()),
                macs=sum(flops.get(f"{network}.{name}", {}).values()) // 2,
            )
            for name, part in parts.items()
        ),
    )


def _image_of(model: nn.Module) -> tuple[int, int, int]:
    cfg = getattr(model, "pretrained_cfg", None)
    if cfg is None:
        raise ValueError(f"{type(model).__name__} says no image size: give image=(channels, height, width)")
    return cast(tuple[int, int, int], cfg["input_size"])


def _on_meta_device(model: nn.Module) -> nn.Module:
    """A copy in evaluation mode. Tensors that pruning computes from others, which PyTorch does not copy, are made there."""
    computed = {id(value): value for module in model.modules() for value in vars(module).values() if isinstance(value, Tensor)}
    memo: dict[int, Any] = {key: value.detach().to("meta") for key, value in computed.items()}
    return copy.deepcopy(model, memo).to("meta").eval()


def _parts(model: nn.Module) -> dict[str, nn.Module]:
    """The top modules of a network, its grids one by one."""
    parts: dict[str, nn.Module] = {}
    for name, child in model.named_children():
        if name == "grids":
            parts |= {f"{name}.{index}": grid for index, grid in child.named_children()}
        elif not isinstance(child, nn.Identity):
            parts[name] = child
    return parts


def align(rows: Sequence[Sequence[str]], left: Sequence[int]) -> list[str]:
    """The rows as lines with columns of equal width, numbers flush right, the columns `left` flush left."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if column in left else cell.rjust(width) for column, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in rows
    ]


def _note_size(
    sizes: dict[str, tuple[int, int]], name: str, _module: nn.Module, _inputs: object, output: Tensor | tuple[Tensor, ...]
) -> None:
    size = _size(output)
    if size is not None:
        sizes[name] = size


def _size(output: Tensor | tuple[Tensor, ...]) -> tuple[int, int] | None:
    tensor = output[-1] if isinstance(output, tuple) else output  # of (u, r), r always has the grid's full size
    return (tensor.shape[2], tensor.shape[3]) if tensor.dim() == 4 else None


def _width(part: nn.Module, name: str, axis: int) -> int | None:
    convolution = getattr(part, name, None)
    return convolution.weight.shape[axis] if isinstance(convolution, nn.Conv2d) else None


def _sharing(part: nn.Module) -> str | None:
    if not hasattr(part, "share_B"):
        return None
    return "B^l" if part.share_B else "B^{l,i}"


def _cells(part: Part) -> tuple[str, ...]:
    size = "" if part.size is None else f"{part.size[0]}x{part.size[1]}"
    optional = ("" if value is None else str(value) for value in (part.c_u, part.c_f, part.nu, part.sharing))
    return (part.name, size, *optional, f"{part.parameters:,}", f"{part.macs:,}")
