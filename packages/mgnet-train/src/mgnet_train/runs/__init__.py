"""One run from its spec to its result: its folder, lock, journal, checkpoints, callbacks.

Locks and signals are those of POSIX systems; on others, the import of this package says so.
"""

from mgnet_records.errors import InputError

try:
    import fcntl  # noqa: F401
except ImportError:
    raise InputError("mgnet-train needs a POSIX system (it locks run folders by flock): use Linux, macOS or WSL") from None
