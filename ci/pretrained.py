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
PACKAGE = ROOT / "packages/mgnet-models/src/mgnet_models/pretrained"
NAMES = ("mgnet_2_2_c32_bl", "mgnet_3_2_c24x16_bli")
KEPT = ("model", "notation", "parameters", "dataset", "recipe", "seed", "epochs", "commit", "dirty", "test", "environment")


def main() -> int:
    """Train each network in a fresh folder and install its weights; the exit code of the first training that fails."""
    PACKAGE.mkdir(exist_ok=True)
    stated = {}
    for name in NAMES:
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
        (result,) = runs.glob("*/result.json")
        values = json.loads(result.read_text(encoding="utf-8"))
        stated[name] = {key: values[key] for key in KEPT}
        shutil.copyfile(result.with_name("model.safetensors"), PACKAGE / f"{name}.digits.safetensors")
    temporary = PACKAGE / ".stated.tmp"
    temporary.write_text(json.dumps(stated, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    os.replace(temporary, PACKAGE / "stated.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
