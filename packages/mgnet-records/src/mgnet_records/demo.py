"""The duality demo, as `mgnet-verify demo --json` writes it: both forms step by step on one image, and a control that must fail."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from mgnet_records.fields import LARGEST, Commit, Count, Line, Part, Positive, Sha256, Slug

# One channel of a tensor as integers: value = entry * scale / 127, rounded, so that a frame costs a few hundred bytes.
Level = Annotated[int, Field(ge=-127, le=127)]
Channel = Annotated[tuple[Annotated[tuple[Level, ...], Field(min_length=1, max_length=32)], ...], Field(max_length=32)]
Gap = Annotated[float, Field(ge=0, le=LARGEST)]
Pixels = Annotated[tuple[Annotated[tuple[Count, ...], Field(min_length=1, max_length=32)], ...], Field(min_length=1, max_length=32)]


class Step(Part):
    """One state of a grid: the feature u, the residual computed from u, and the residual that the residual iteration carries.

    `gap` is max |(f - A*u) - r| over all channels and pixels, in the dtype of the demo, not of the rounded frames.
    """

    u: Channel
    residual_of_u: Channel
    r: Channel
    gap: Gap


class DemoGrid(Part):
    """The states of one grid, before the first and after each iteration; `u_scale` and `r_scale` undo the rounding."""

    u_scale: Annotated[float, Field(gt=0, le=LARGEST)]
    r_scale: Annotated[float, Field(gt=0, le=LARGEST)]
    steps: Annotated[tuple[Step, ...], Field(min_length=2, max_length=33)]


class Control(Part):
    """The same image through a network whose A differs from iteration to iteration: the two residuals must part."""

    statement: Line
    grids: Annotated[tuple[DemoGrid, ...], Field(min_length=1, max_length=6)]


class Image(Part):
    """The real image the demo runs on, as integers from 0 to `maximum`."""

    dataset: Slug
    split: Slug
    index: Count
    label: Count
    predicted: Count
    maximum: Positive
    pixels: Pixels


class DualityDemo(Part):
    """Both forms of one trained MgNet on one real image, and the control. `channel` is the one that the frames show."""

    schema_version: Literal[1] = 1
    kind: Literal["duality_demo"] = "duality_demo"
    model: Slug
    notation: Line
    checkpoint_sha256: Sha256
    commit: Commit | None
    versions: Annotated[dict[Line, Line | None], Field(max_length=100)]
    dtype: Literal["float32", "float64"]
    channel: Count
    image: Image
    grids: Annotated[tuple[DemoGrid, ...], Field(min_length=1, max_length=6)]
    control: Control


DUALITY_DEMO: TypeAdapter[DualityDemo] = TypeAdapter(DualityDemo)


def fault_of(demo: DualityDemo) -> str | None:
    """What makes the demo no demo of the duality; None when nothing does."""
    held = max(step.gap for grid in demo.grids for step in grid.steps)
    broken = max(step.gap for grid in demo.control.grids for step in grid.steps)
    if held >= broken / 1000:
        return f"the largest gap is {held:g} with A shared and {broken:g} without; the demo shows no difference"
    for grid in (*demo.grids, *demo.control.grids):
        shapes = {
            (len(channel), len(row)) for step in grid.steps for channel in (step.u, step.residual_of_u, step.r) for row in channel
        }
        if len(shapes) != 1:
            return f"the frames of one grid have the shapes {sorted(shapes)}"
    return None
