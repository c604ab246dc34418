"""How many processes read image files when nobody says otherwise."""

from __future__ import annotations

import os

# A job in a cluster may use fewer processors than the machine has; not every system can tell.
_PROCESSORS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

READERS = min(4, _PROCESSORS)
