"""Landscapes drawn: contour lines above, the surface below, one column for each network, on one scale."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np


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
