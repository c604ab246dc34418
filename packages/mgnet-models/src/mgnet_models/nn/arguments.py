"""Checks of the arguments that constructors of networks share: one line for what PyTorch would take, or refuse from inside.

All raise ValueError that names the argument and its value.
"""

from __future__ import annotations

from mgnet_models.notation import MAX_CHANNELS, MAX_ITERATIONS, whole_number
from mgnet_records.errors import shown

MAX_CLASSES = 2**24
POOLS = ("avg", "max", "avgmax", "catavgmax", "fast", "fastavg", "fastmax", "fastavgmax", "fastcatavgmax", "")


def check_common(*, in_chans: object, num_classes: object, global_pool: object) -> None:
    """The arguments of every network."""
    check_sizes(in_chans=in_chans)
    check_classes(num_classes)
    check_pool(global_pool)


def check_rates(**rates: object) -> None:
    """Probabilities of dropout."""
    for name, rate in rates.items():
        if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 <= rate <= 1:
            raise ValueError(f"{name}={shown(rate)}: use a number from 0 to 1")


def check_pool(global_pool: object) -> None:
    """A pooling that timm knows."""
    if global_pool not in POOLS:
        raise ValueError(f"global_pool={shown(global_pool)} is unknown: use one of {', '.join(map(repr, POOLS))}")


def check_classes(num_classes: object) -> None:
    """A number of classes; 0 means no classifier."""
    if not 0 <= whole_number("num_classes", num_classes) <= MAX_CLASSES:
        raise ValueError(f"num_classes={shown(num_classes)}: use 0, for no classifier, to {MAX_CLASSES:,}")


def check_sizes(**sizes: object) -> None:
    """Positive whole numbers."""
    for name, size in sizes.items():
        if not 1 <= whole_number(name, size) <= MAX_CHANNELS:
            raise ValueError(f"{name}={shown(size)}: use a whole number from 1 to {MAX_CHANNELS:,}")


def check_flags(**flags: object) -> None:
    """True or False; the text "false" would count as True."""
    for name, flag in flags.items():
        if not isinstance(flag, bool):
            raise ValueError(f"{name}={shown(flag)}: use True or False")


def as_sizes(name: str, sizes: object) -> tuple[int, ...]:
    """A list of positive whole numbers, Python's or NumPy's, as a tuple."""
    entries = [] if isinstance(sizes, (str, dict)) or not hasattr(sizes, "__iter__") else list(sizes)
    if not entries:
        raise ValueError(f"{name}={shown(sizes)}: give a list with one number for each grid")
    for entry in entries:
        check_sizes(**{name: entry})
    return tuple(int(entry) for entry in entries)


def as_depths(name: str, blocks: object) -> tuple[int, ...]:
    """As `as_sizes`, for numbers of blocks, whose sum has a limit."""
    counts = as_sizes(name, blocks)
    if sum(counts) > MAX_ITERATIONS:
        raise ValueError(f"{name}={shown(blocks)} makes {sum(counts):,} in all: use at most {MAX_ITERATIONS:,}")
    return counts


def as_size_lists(name: str, lists: object) -> tuple[tuple[int, ...], ...]:
    """A list of lists of positive whole numbers, one for each stage."""
    if isinstance(lists, (str, dict)) or not hasattr(lists, "__iter__") or not (stages := list(lists)):
        raise ValueError(f"{name}={shown(lists)}: give a list of numbers for each stage")
    return tuple(as_sizes(name, sizes) for sizes in stages)
