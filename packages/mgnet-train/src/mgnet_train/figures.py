"""Figures of a finished run: its curves and its confusion matrix. Drawn by the sender, not by the training."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mgnet_train.journal import JOURNAL, read_records
from mgnet_train.runfolder import read_json

CONFUSION = "confusion.json"


def draw_figures(folder: Path, out: Path) -> None:
    """Write curves.png and confusion.png from the journal and the counts in a run folder."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    out.mkdir(exist_ok=True)
    epochs = [record for record in read_records(folder / JOURNAL, 0)[0] if record.kind == "epoch"]
    figure, (loss, accuracy) = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    pairs = ((loss, "loss", "loss", "loss"), (accuracy, "accuracy in %", "accuracy", "accuracy_last"))
    for axes, kind, train, test in pairs:
        for name in (f"train/{train}", f"test/{test}"):
            axes.plot([record.step for record in epochs], [record.metrics[name] for record in epochs], label=name)
        axes.set(xlabel="epoch", ylabel=kind)
        axes.legend()
    figure.savefig(out / "curves.png", dpi=100)
    pyplot.close(figure)
    counts = np.asarray(read_json(folder / CONFUSION).get("counts", []))
    if counts.size:
        figure, axes = pyplot.subplots(figsize=(6, 5), layout="constrained")
        figure.colorbar(axes.imshow(np.log1p(counts)), label="log(1 + images)")
        axes.set(xlabel="answer", ylabel="true class")
        figure.savefig(out / "confusion.png", dpi=100)
        pyplot.close(figure)
