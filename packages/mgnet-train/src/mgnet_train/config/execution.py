"""How a run is computed: where, in which precision and memory layout, by which convolution, keeping what for the backward pass.

An execution changes rounding, time and memory, and never what is trained. So it is recorded with a run and is no part of
the recipe's hash: "paper-v2" is one recipe on every device. This file imports no torch; `mgnet_train.train.precision`
applies an execution to a network.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast, get_args

from mgnet_records.errors import InputError, unknown
from mgnet_records.run_result import Execution as ExecutionRecord

DeviceType = Literal["cpu", "cuda"]
Precision = Literal["deterministic", "mixed"]
Layout = Literal["channels_last", "contiguous"]
Convolution = Literal["winograd", "direct"]
Recompute = Literal["none", "selective", "full", "sublinear"]
Form = Literal["residual", "feature"]
Auto = Literal["auto"]

# Setting -> its values and what it decides, for the command line and for messages.
SETTINGS: dict[str, tuple[tuple[str, ...], str]] = {
    "precision": (
        ("auto", *get_args(Precision)),
        "deterministic: float32, no TF32, deterministic algorithms; mixed: bfloat16 autocast; "
        "auto: deterministic on a CPU, mixed on CUDA",
    ),
    "layout": (
        ("auto", *get_args(Layout)),
        "memory layout of images and weights; auto: channels_last, but contiguous for deterministic on CUDA",
    ),
    "convolution": (
        ("auto", *get_args(Convolution)),
        "algorithm of wide 3x3 convolutions; auto: winograd on a CPU, direct on CUDA",
    ),
    "recompute": (get_args(Recompute), "what a MgNet computes again in the backward pass, to save memory"),
    "form": (get_args(Form), "which iteration of a MgNet is executed: of residuals (4.5) or of features (3.5)"),
}
# A run folder belongs to one value of each of these; device, threads and processes may change at a restart.
_FIXED = ("precision", "layout", "convolution", "recompute", "form")


@dataclass(frozen=True, kw_only=True)
class Execution:
    """How to compute. `threads` are CPU threads of PyTorch; None leaves them to the data set or to PyTorch.

    Raises InputError for a value that does not exist and for two that exclude each other.
    """

    device: DeviceType | Auto = "auto"
    precision: Precision | Auto = "auto"
    layout: Layout | Auto = "auto"
    convolution: Convolution | Auto = "auto"
    recompute: Recompute = "none"
    form: Form = "residual"
    threads: int | None = None

    def __post_init__(self) -> None:
        for name, (values, _) in SETTINGS.items():
            if getattr(self, name) not in values:
                raise InputError(f"{name}={getattr(self, name)!r} is unknown: use {', '.join(values)}")
        if self.form == "feature" and self.recompute != "none":
            raise InputError(f"recompute={self.recompute} is implemented for the residual form alone: use form=residual")

    def with_overrides(self, overrides: dict[str, str]) -> Execution:
        """The execution with some settings changed. Raises InputError for one that does not exist."""
        for name in overrides:
            if name not in SETTINGS:
                raise unknown("setting of the execution", name, SETTINGS)
        return replace(self, **cast(dict[str, Any], overrides))

    def resolved(self, device: str) -> Execution:
        """The execution with no `auto` left, for a device type (`cpu` or `cuda`)."""
        precision, layout, convolution = self.precision, self.layout, self.convolution
        if precision == "auto":
            precision = "deterministic" if device == "cpu" else "mixed"
        if layout == "auto":  # float32 convolutions on CUDA gain nothing from channels_last
            layout = "contiguous" if precision == "deterministic" and device == "cuda" else "channels_last"
        if convolution == "auto":
            convolution = "winograd" if device == "cpu" else "direct"
        return replace(self, device=cast(DeviceType, device), precision=precision, layout=layout, convolution=convolution)

    @property
    def suffix(self) -> str:
        """What a run folder's name says of a resolved execution: the settings that are not the device's default."""
        default = Execution().resolved(self.device)
        differing = [str(getattr(self, name)) for name in _FIXED if getattr(self, name) != getattr(default, name)]
        return "".join(f"-{value}" for value in differing)

    def difference(self, first: ExecutionRecord) -> str | None:
        """What one run folder cannot have two of, as `precision=deterministic, now precision=mixed`; None when all is equal.

        `first` says what ran. That is the direct convolution, too, where a network has nothing to compute by Winograd's.
        """
        names = [name for name in _FIXED if getattr(first, name) != getattr(self, name)]
        if "convolution" in names and first.convolution == "direct":
            names.remove("convolution")
        if not names:
            return None
        before, now = (" ".join(f"{name}={getattr(record, name)}" for name in names) for record in (first, self))
        return f"{before}, now {now}"


def default_workers() -> int:
    """How many processes read image files when nobody says otherwise."""
    # A job of a cluster may use fewer processors than the machine has; not every system can tell.
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(4, processors)


@dataclass(frozen=True, kw_only=True)
class Options:
    """What surrounds one start of a run and changes nothing in it: folders, tracking, the log.

    `track` is now (an uploader beside the run) or later (`mgnet-train sync`). `source` says where a data set of image files
    is kept: None for `data_dir/<name>`, or `wds/NAME` or `hfds/NAME` below `data_dir`. `digest_contents` has the first start
    read every image file once and record a digest of all they hold. `checkpoint_seconds` is the longest time between two
    checkpoints. `certify` has mgnet-verify check the trained network. `notes` say how the process was set up, for the log.
    """

    runs: Path = Path("runs")
    data_dir: Path = Path("data")
    source: str | None = None
    digest_contents: bool = False
    workers: int = default_workers()
    track: Literal["now", "later"] = "now"
    allow_unreachable_store: bool = False
    quiet: bool = False
    log_every: int = 50
    checkpoint_seconds: float = 300.0
    certify: bool = False
    notes: tuple[str, ...] = ()
