"""Trains the weights that mgnet-models ships, by mgnet-train's own recipe, and puts them into the package.

    make weights

Two small networks on scikit-learn's digits, seed 0, the default recipe. Beside the weights goes what they reached and how.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "packages/mgnet-models/src/mgnet_models/weights/digits"
NAMES = ("mgnet_2_2_c32_bl", "mgnet_3_2_c24x16_bli")
KEPT = (
    "model",
    "notation",
    "parameters",
    "dataset",
    "recipe",
    "execution",
    "seed",
    "epochs",
    "commit",
    "dirty",
    "test",
    "environment",
)


def main() -> int:
    """Train each network in a fresh folder and install its weights; the exit code of the first training that fails."""
    results: list[Path] = []
    for name in NAMES:  # all before the first is installed, so that each is trained on a clean tree
        runs = ROOT / "build" / "weights" / name
        shutil.rmtree(runs, ignore_errors=True)
        command = [
            str(Path(sys.executable).with_name("mgnet-train")),
            "fit",
            name,
            "--data",
            "digits",
            "--seed",
            "0",
            "--runs",
            str(runs),
        ]
        code = subprocess.run(command, check=False).returncode
        if code != 0:
            return code
        results += runs.glob("*/result.json")
    install(results)
    return 0


def install(results: list[Path]) -> None:
    """Copy the weights beside each result into the package, and what they are stated to reach."""
    stated = {}
    for result in results:
        values = json.loads(result.read_text(encoding="utf-8"))
        stated[values["model"]] = {key: values[key] for key in KEPT}
        shutil.copyfile(result.with_name("model.safetensors"), PACKAGE / f"{values['model']}.digits.safetensors")
    temporary = PACKAGE / ".stated.tmp"
    temporary.write_text(json.dumps(stated, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    os.replace(temporary, PACKAGE / "stated.json")


if __name__ == "__main__":
    sys.exit(main())
