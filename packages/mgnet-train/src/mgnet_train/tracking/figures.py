"""Figures of a finished run: its curves and its confusion matrix. Drawn by the uploader, not by the training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mgnet_train.runs.folder import CONFUSION, read_json
from mgnet_train.runs.journal import JOURNAL, Record, read_records

_MOST_CLASSES_WITH_NUMBERS = 20


def draw_figures(folder: Path, out: Path) -> None:
    """Write curves.png and confusion.png from the journal and the counts in a run folder."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    out.mkdir(exist_ok=True)
    epochs = [record for record in read_records(folder / JOURNAL, 0)[0] if record.kind == "epoch"]
    figure, axes = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    _draw_curves(axes, epochs)
    _write(figure, folder, out / "curves.png")
    counts = np.asarray(read_json(folder / CONFUSION).get("counts", []))
    if counts.size:
        figure, axes = pyplot.subplots(figsize=(7, 6), layout="constrained")
        figure.colorbar(_draw_confusion(axes, counts), label="log(1 + images)")
        _write(figure, folder, out / "confusion.png")


def _draw_curves(axes: Any, epochs: list[Record]) -> None:
    from matplotlib.ticker import MaxNLocator

    steps = [record.step for record in epochs]
    for axis, kind, train, test in zip(axes, ("loss", "accuracy in %"), ("loss", "accuracy"), ("loss", "accuracy_last")):
        for name in (f"train/{train}", f"test/{test}"):
            # Points, so that a run of one epoch shows something.
            axis.plot(steps, [record.metrics[name] for record in epochs], label=name, marker=".")
        axis.set(xlabel="epoch", ylabel=kind)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.3)
        axis.legend()


def _draw_confusion(axes: Any, counts: np.ndarray[Any, Any]) -> Any:
    shades = np.log1p(counts)
    image = axes.imshow(shades)
    classes = len(counts)
    axes.set(xlabel="answer", ylabel="true class")
    if classes <= _MOST_CLASSES_WITH_NUMBERS:
        axes.set(xticks=range(classes), yticks=range(classes))
        for (row, column), count in np.ndenumerate(counts):
            if count:
                bright = shades[row, column] > shades.max() / 2
                axes.text(column, row, count, ha="center", va="center", color="black" if bright else "white", fontsize=8)
    return image


def _write(figure: Any, folder: Path, path: Path) -> None:
    from matplotlib import pyplot

    figure.suptitle(folder.name)
    figure.savefig(path, dpi=100)
    pyplot.close(figure)
