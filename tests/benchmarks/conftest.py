"""The benchmarks are scripts of the repository, not of a package: the root is where they are found."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
