"""Checks of the arguments that constructors of networks share: one line for what PyTorch would take, or refuse from inside."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from mgnet_models.notation import MAX_CHANNELS, MAX_ITERATIONS, PoolKind, shown, whole_number

MAX_CLASSES = 2**24


def check_common(
    *, in_chans: object, num_classes: object, global_pool: object, drop_rate: object, drop_path_rate: object = 0.0
) -> None:
    """The arguments of every network. Raises ValueError for the first that means nothing."""
    check_sizes(in_chans=in_chans)
    classes = whole_number("num_classes", num_classes)
    if not 0 <= classes <= MAX_CLASSES:
        raise ValueError(f"num_classes={shown(num_classes)}: use 0, for no classifier, to {MAX_CLASSES:,}")
    if global_pool not in get_args(PoolKind):
        raise ValueError(f"global_pool={shown(global_pool)} is unknown: use one of {', '.join(map(repr, get_args(PoolKind)))}")
    for name, rate in (("drop_rate", drop_rate), ("drop_path_rate", drop_path_rate)):
        if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 <= rate <= 1:
            raise ValueError(f"{name}={shown(rate)}: use a number from 0 to 1")


def check_sizes(**sizes: object) -> None:
    """Positive whole numbers, alone or in lists of any depth, none of them empty. Raises ValueError that names the argument."""
    for name, size in sizes.items():
        for number in _numbers(name, size):
            if not 1 <= number <= MAX_CHANNELS:
                raise ValueError(f"{name}={shown(size)}: use whole numbers from 1 to {MAX_CHANNELS:,}")


def check_depth(**blocks: object) -> None:
    """As `check_sizes`, for numbers of blocks or layers, whose sum has a limit."""
    check_sizes(**blocks)
    for name, counts in blocks.items():
        total = sum(_numbers(name, counts))
        if total > MAX_ITERATIONS:
            raise ValueError(f"{name}={shown(counts)} makes {total:,} in all: use at most {MAX_ITERATIONS:,}")


def check_flags(**flags: object) -> None:
    """True or False; the text "false" would count as True."""
    for name, flag in flags.items():
        if not isinstance(flag, bool):
            raise ValueError(f"{name}={shown(flag)}: use True or False")


def check_weights(name: str, *shape: int) -> None:
    """Raises ValueError for a kernel of this shape that no computer here could hold."""
    if math.prod(shape) > 2**30:
        raise ValueError(f"{name} of {' x '.join(map(str, shape))} has more than {2**30:,} weights: use fewer channels")


def _numbers(name: str, size: object) -> list[int]:
    if isinstance(size, (str, bytes, Mapping)) or not (isinstance(size, Sequence) or hasattr(size, "__iter__")):
        return [whole_number(name, size)]
    entries: list[Any] = list(size)  # type: ignore[arg-type]
    if not entries:
        raise ValueError(f"{name}={shown(size)} is empty: give at least one entry")
    return [number for entry in entries for number in _numbers(name, entry)]
