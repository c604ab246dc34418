"""`python -m tests.fuzz`: see `fuzz.command`."""

import sys
from pathlib import Path

# The folder that pytest has on its path too, so that each module has one name.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fuzz.command import main

sys.exit(main())
