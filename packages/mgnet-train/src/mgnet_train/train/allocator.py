"""How the C library treats freed memory: a setting of a training process, which keeps it for the next step.

glibc returns large freed blocks to the kernel. Each operation then faults its output in again, page by page, which costs as
much as the arithmetic on machines where a page fault is expensive. Results do not change by a bit. A process that only
imports this package is left as it is.
"""

from __future__ import annotations

import ctypes
import os
from typing import Literal

Allocator = Literal["keep", "system"]

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_SETTINGS = ((_M_MMAP_THRESHOLD, 2**30), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, 2**26))
# A user who sets one of these has chosen how memory is treated.
_CHOSEN_BY_USER = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_", "GLIBC_TUNABLES", "LD_PRELOAD")


def set_allocator(allocator: Allocator) -> str:
    """Set up the running process; returns one line that says what was done, for the log.

    "keep" lets glibc keep freed memory, up to what the process needed at its peak; "system" changes nothing. An
    environment that already chooses an allocator, and a C library without mallopt, are left alone.
    """
    if allocator == "system":
        return "allocator: as the system has it"
    for variable in _CHOSEN_BY_USER:
        if os.environ.get(variable):
            return f"allocator: left to the environment variable {variable}"
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None or not all(mallopt(name, value) for name, value in _SETTINGS):
        return "allocator: as the system has it, the C library takes no thresholds"
    return "allocator: glibc keeps freed memory (--allocator system leaves that to the system)"
