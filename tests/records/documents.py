"""A sound document of each kind, as the JSON value that a package writes."""

from __future__ import annotations

import copy
from typing import Any

from mgnet_records.run_result import recipe_sha256

Document = dict[str, Any]
_RECIPE: Document = {"name": "digits", "epochs": 12, "lr": 0.1, "milestones": [7, 10], "accumulate": 1, "batchnorm": "averaged"}


def run_result() -> Document:
    return {
        "schema_version": 2,
        "kind": "run",
        "run_id": "5e2b5eea41d1448ca8e3d5e6a06bd0ee",
        "model": "mgnet_2_2_c32_bl",
        "notation": "MgNet[2,2]-[32]-B^l",
        "model_args": {"num_classes": 10, "in_chans": 1},
        "parameters": 30_000,
        "dataset": {"name": "digits", "split": "test", "n": 360, "sha256": "ab" * 32},
        "recipe": {"name": "digits", "sha256": recipe_sha256(_RECIPE), "values": copy.deepcopy(_RECIPE)},
        "execution": {
            "device": "cpu",
            "precision": "deterministic",
            "layout": "channels_last",
            "convolution": "winograd",
            "kernel_backend": "avx2",
            "recompute": "none",
            "form": "residual",
            "threads": 1,
            "processes": 1,
        },
        "seed": 0,
        "epochs": 12,
        "commit": "cd" * 20,
        "dirty": False,
        "environment": {
            "python": "3.11.7",
            "torch": "2.15.0",
            "timm": "1.0.31",
            "packages": {"mgnet-train": "0.1.0"},
            "cuda": None,
            "device": "cpu",
            "cpu": "a CPU (2 cores)",
            "os": "Linux 6.1",
        },
        "test": {"n": 360, "correct_last": 355, "correct_best": 357, "correct_top5": 359},
        "train_seconds": 4.5,
        "images_per_second": 3832.0,
        "started": "2026-01-02T03:04:05Z",
        "finished": "2026-01-02T03:05:05.25+00:00",
        "checkpoint_sha256": "ef" * 32,
    }


def certificate() -> Document:
    macs = {"closed_form": 2_000, "fvcore": 2_000}
    return {
        "schema_version": 2,
        "kind": "verification",
        "target": {"model": "mgnet_2_2_c32_bl", "checkpoint_sha256": None},
        "notation": "MgNet[2,2]-[32]-B^l",
        "commit": "cd" * 20,
        "dirty": False,
        "versions": {"python": "3.11.7", "torch": "2.15.0", "mgnet-verify": "0.1.0"},
        "kernel_backend": None,
        "executions": ["feature_form", "residual_form"],
        "status": "pass",
        "properties": [
            {
                "name": "forms_agree",
                "status": "pass",
                "statement": "u < 0 & both forms agree.",
                "detail": "",
                "examples": 2,
                "seed": 0,
                "largest_gap": 0.01,
                "bits_used": 33.5,
            }
        ],
        "parameters": {"closed_form": 1_000, "torch": 1_000, "fvcore": 1_000},
        "macs": {"image": [1, 8, 8], "convention": "conv + linear", "residual_form": macs, "feature_form": dict(macs)},
        "paper": [
            {
                "row": "v2/table7/mgnet_2222_256/cifar10",
                "printed": "8.3M",
                "exact": 8_285_000,
                "verdict": "exact under round",
                "explanation": None,
            }
        ],
    }


def demo() -> Document:
    def grid(gap: float) -> Document:
        steps = [{"u": [[0, 127]], "residual_of_u": [[1, 2]], "r": [[1, 2]], "gap": gap} for _ in range(2)]
        return {"u_scale": 1.0, "r_scale": 0.5, "steps": steps}

    image = {
        "dataset": "digits",
        "split": "all",
        "index": 3,
        "label": 3,
        "predicted": 3,
        "maximum": 16,
        "pixels": [[0, 16], [4, 5]],
    }
    return {
        "schema_version": 1,
        "kind": "duality_demo",
        "model": "mgnet_2_2_c32_bl",
        "notation": "MgNet[2,2]-[32]-B^l",
        "checkpoint_sha256": "ef" * 32,
        "commit": "cd" * 20,
        "versions": {"python": "3.11.7"},
        "dtype": "float64",
        "channel": 1,
        "image": image,
        "grids": [grid(1e-15)],
        "control": {"statement": "each iteration has an A of its own", "grids": [grid(2.0)]},
    }


def changed(document: Document, path: str, value: Any) -> Document:
    """The document with another value at a dotted path."""
    new = copy.deepcopy(document)
    *parents, last = path.split(".")
    part: Any = new
    for key in parents:
        part = part[int(key)] if isinstance(part, list) else part[key]
    part[last] = value
    return new
