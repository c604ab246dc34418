"""What does `import mgnet_models` add to `import timm`, and how long does each command take to print its help?

python -m benchmarks.startup [--rounds 5]
The import: what Python's own -X importtime says of mgnet_models in a process that has imported timm. Help: whole
processes, and which heavy libraries they import.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import time

from benchmarks.report import print_table, write

COMMANDS = ("mgnet_train", "mgnet_verify", "mgnet_leaderboard")


def main() -> None:
    """Measure both, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    added = [_added_by_import() for _ in range(arguments.rounds)]
    helps = {command: [_help(command) for _ in range(arguments.rounds)] for command in COMMANDS}
    rows = [["import mgnet_models after timm", _milliseconds(added), "0.3 s"]]
    rows += [[f"{command.replace('_', '-')} --help", _milliseconds(seconds), "0.7 s"] for command, seconds in helps.items()]
    print_table(f"start-up ({arguments.rounds} rounds)", ["what", "median ms (lowest to highest)", "wanted below"], rows)
    heavy = {command: _imports(command) for command in COMMANDS}
    for command, names in heavy.items():
        print(f"{command} --help imports {', '.join(names) or 'neither torch nor timm nor mlflow'}")
    print(write("startup", {"import_seconds": added, "help_seconds": helps, "heavy_imports": heavy}, **vars(arguments)))


def _added_by_import() -> float:
    """Seconds that importing mgnet_models takes in a process that has timm."""
    program = "import timm; import mgnet_models"
    done = subprocess.run([sys.executable, "-X", "importtime", "-c", program], capture_output=True, text=True, check=True)
    found = re.search(r"^import time:\s*\d+ \|\s*(\d+) \| mgnet_models$", done.stderr, re.MULTILINE)
    assert found is not None  # -X importtime prints a line for every module
    return int(found[1]) / 1e6


def _help(command: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", command, "--help"], capture_output=True, check=True)
    return time.perf_counter() - start


def _imports(command: str) -> list[str]:
    """Which of the heavy libraries the help of a command imports."""
    done = subprocess.run([sys.executable, "-X", "importtime", "-m", command, "--help"], capture_output=True, text=True, check=True)
    return [name for name in ("torch", "timm", "mlflow") if re.search(rf"\| +{name}$", done.stderr, re.MULTILINE)]


def _milliseconds(seconds: list[float]) -> str:
    ms = [1000 * value for value in seconds]
    return f"{statistics.median(ms):.0f} ({min(ms):.0f} to {max(ms):.0f})"


if __name__ == "__main__":
    main()
