"""The loss around a checkpoint on a plane of two random directions, filter-normalized (version 1, section 5.4).

Each direction has the norm of the weights filter by filter, so that landscapes of different networks can be compared.
Scales, shifts and biases are not moved, and BatchNorm keeps its running statistics: the plane shows the network that is
tested. The same seed gives the same directions; rows that are already in the file are not computed again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mgnet_records.errors import InputError
from mgnet_records.files import write_json
from mgnet_train.data.augment import Normalize
from mgnet_train.data.dataset import ResidentDataset
from mgnet_train.data.rng import generator
from mgnet_train.runs.folder import read_json

_BATCH = 512


@dataclass(frozen=True, kw_only=True)
class Plane:
    """The grid: `points` values a side from -`radius` to `radius`, on the first `images` training images."""

    points: int
    radius: float
    images: int
    seed: int

    @property
    def ticks(self) -> list[float]:
        return [self.radius * (2 * i / (self.points - 1) - 1) for i in range(self.points)]


def directions(network: nn.Module, seed: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Two directions, one tensor for each weight of two or more axes, each filter as long as the network's."""
    found = []
    for number in (0, 1):
        source = generator(seed, "landscape", number)
        drawn = {}
        for name, weight in network.named_parameters():
            noise = torch.randn(weight.shape, generator=source)
            if weight.ndim > 1:
                axes = tuple(range(1, weight.ndim))
                scale = _lengths(weight.detach().cpu(), axes) / _lengths(noise, axes)
                drawn[name] = (noise * scale).to(weight.device)
        found.append(drawn)
    return found[0], found[1]


def _lengths(weight: Tensor, axes: tuple[int, ...]) -> Tensor:
    return torch.linalg.vector_norm(weight, dim=axes, keepdim=True)


def compute(network: nn.Module, data: ResidentDataset, plane: Plane, path: Path, *, subject: str) -> dict[str, Any]:
    """The losses, row by row, in the JSON file at `path`; InputError when the file belongs to another subject or plane."""
    key = {"subject": subject, "plane": vars(plane), "batchnorm": "running statistics, scales and shifts kept"}
    record = read_json(path) or {**key, "losses": []}
    if {name: record.get(name) for name in key} != key:
        raise InputError(f"{path} holds another landscape: give another --out or delete it")
    first, second = directions(network, plane.seed)
    images = Normalize(data.info, torch.device("cpu"))(data.train.images[: plane.images])
    labels = data.train.labels[: plane.images]
    start = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    for row in range(len(record["losses"]), plane.points):
        record["losses"].append(
            [_loss_at(network, start, first, second, (a, plane.ticks[row]), images, labels) for a in plane.ticks]
        )
        write_json(path, record)
    network.load_state_dict(start, strict=False)
    return record


@torch.no_grad()
def _loss_at(
    network: nn.Module,
    start: dict[str, Tensor],
    first: dict[str, Tensor],
    second: dict[str, Tensor],
    at: tuple[float, float],
    images: Tensor,
    labels: Tensor,
) -> float:
    network.eval()
    for name, parameter in network.named_parameters():
        if name in first:
            parameter.copy_(start[name] + at[0] * first[name] + at[1] * second[name])
    total = 0.0
    for begin in range(0, len(labels), _BATCH):
        logits = network(images[begin : begin + _BATCH])
        total += float(F.cross_entropy(logits, labels[begin : begin + _BATCH], reduction="sum"))
    return total / len(labels)


def draw(records: list[dict[str, Any]], titles: list[str], path: Path) -> None:
    """Write a PNG of the landscapes side by side; the logarithm of the loss is shown."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    surfaces = [np.log10(np.asarray(record["losses"]) + 1e-6) for record in records]
    levels = np.linspace(min(s.min() for s in surfaces), max(s.max() for s in surfaces), 25)
    figure = pyplot.figure(figsize=(5 * len(records), 9), layout="constrained")
    for column, (record, surface, title) in enumerate(zip(records, surfaces, titles), start=1):
        radius, points = record["plane"]["radius"], record["plane"]["points"]
        x, y = np.meshgrid(*(np.linspace(-radius, radius, points),) * 2)
        flat = figure.add_subplot(2, len(records), column, aspect="equal", xlabel="first direction", ylabel="second direction")
        flat.set_title(title, fontsize="x-small", loc="left")
        figure.colorbar(flat.contour(x, y, surface, levels=levels), ax=flat, label="log10 loss", shrink=0.8)
        solid: Any = figure.add_subplot(2, len(records), len(records) + column, projection="3d", zlabel="log10 loss")
        solid.plot_surface(x, y, surface, cmap="viridis", vmin=levels[0], vmax=levels[-1])
        solid.set_zlim(levels[0], levels[-1])
    figure.savefig(path, dpi=120, metadata={"Software": None})
    pyplot.close(figure)
