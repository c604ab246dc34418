"""What a model's name says of its grids, for the page of the model; the networks themselves live in mgnet-models."""

from __future__ import annotations

import re
from dataclasses import dataclass

# mgnet_<nu of each grid>_c<channels, one for all grids or one each; UxF where u and f differ>_<bl|bli>[_224]
NAME = re.compile(r"^mgnet((?:_\d+)+)_c(\d+(?:x\d+)?(?:_\d+(?:x\d+)?)*)_(bl|bli)(_224)?$")


@dataclass(frozen=True, kw_only=True)
class GridShape:
    """Iterations, channels of u and f, and kernels of A and B on one grid."""

    grid: int
    iterations: int
    channels_u: int
    channels_f: int
    kernels_A: int
    kernels_B: int


def grids_of(model: str) -> tuple[GridShape, ...]:
    """The grids of a MgNet from its registered name, finest first; empty for any other name."""
    match = NAME.match(model)
    if match is None:
        return ()
    iterations = [int(part) for part in match[1].split("_")[1:]]
    pairs = [tuple(int(c) for c in part.split("x")) for part in match[2].split("_")]
    pairs = pairs * len(iterations) if len(pairs) == 1 else pairs
    if len(pairs) != len(iterations):
        return ()
    return tuple(
        GridShape(
            grid=number,
            iterations=nu,
            channels_u=pair[0],
            channels_f=pair[-1],
            kernels_A=1,
            kernels_B=1 if match[3] == "bl" else nu,
        )
        for number, (nu, pair) in enumerate(zip(iterations, pairs), start=1)
    )
