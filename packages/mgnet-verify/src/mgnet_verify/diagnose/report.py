"""A diagnosis as a table, as flat metrics for a tracker such as MLflow, and as a figure; and the images it is made on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mgnet_records.datasets import DATA_SETS
from mgnet_records.errors import InputError
from mgnet_verify.diagnose.diagnosis import IterationDiagnosis

COUNT = 64


def sample_images(channels: int, file: Path | None) -> tuple[str, Tensor]:
    """Images (b, c, h, w) with a name: of an .npy file; else scikit-learn's digits, normalized, for one channel; else noise."""
    if file is not None:
        return str(file), torch.from_numpy(_loaded(file, channels)).double()
    if channels == 1:
        from sklearn.datasets import load_digits

        digits = DATA_SETS["digits"]
        pixels = load_digits().images[-COUNT:, None] / digits.pixel_max
        return f"the last {COUNT} of scikit-learn's digits", torch.from_numpy((pixels - digits.mean[0]) / digits.std[0])
    noise = np.random.default_rng(0).normal(size=(8, channels, 32, 32))
    return "8 images of standard normal noise, 32x32", torch.from_numpy(noise)


def _loaded(file: Path, channels: int) -> np.ndarray:
    try:
        images: np.ndarray = np.load(file, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read images from {file} ({error}): give an .npy file of shape (b, c, h, w)") from None
    if images.ndim != 4 or images.shape[1] != channels:
        raise InputError(f"{file} has shape {images.shape}: the network needs (b, {channels}, h, w)")
    return images


def diagnosis_lines(rows: Sequence[IterationDiagnosis]) -> Iterator[str]:
    """The table."""
    yield f"{'grid':>4} {'iter':>4} {'||r||':>9} {'||s||':>9} {'r_i/r_i-1':>9} {'radius':>8} {'||A||':>8} {'field':>6}"
    for row in rows:
        ratio = "-" if row.ratio is None else f"{row.ratio:.3f}"
        yield (
            f"{row.grid:>4} {row.iteration:>4} {row.residual:>9.4f} {row.correction:>9.4f} {ratio:>9} "
            f"{row.radius:>8.3f} {row.norm_A:>8.3f} {row.receptive_field:>6}"
        )


def metrics(rows: Sequence[IterationDiagnosis]) -> dict[str, float]:
    """`diagnosis/grid_1/iteration_2/residual` and so on: one number each, as trackers log them."""
    numbers = {(row.grid, row.iteration): asdict(row) for row in rows}
    return {
        f"diagnosis/grid_{grid}/iteration_{iteration}/{name}": float(value)
        for (grid, iteration), fields in numbers.items()
        for name, value in fields.items()
        if name not in ("grid", "iteration") and value is not None
    }


def draw(rows: Sequence[IterationDiagnosis], file: Path, title: str) -> None:
    """||r|| and ||s|| over all iterations, grid by grid, as an image in the format of the file's suffix; needs matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError("a figure needs matplotlib: install mgnet-verify[figure]") from None
    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    places = [f"{row.grid}.{row.iteration}" for row in rows]
    axes.plot(places, [row.residual for row in rows], "o-", label="residual before the iteration")
    axes.plot(places, [row.correction for row in rows], "s--", label="correction")
    axes.set(xlabel="grid.iteration", ylabel="root mean square", title=title, yscale="log")
    axes.legend()
    try:
        figure.savefig(file)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot draw {file} ({error}): give a file that ends in .svg, .png or .pdf") from None
