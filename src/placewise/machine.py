"""What this process may use of the machine."""

from __future__ import annotations

import os


def usable_cores() -> int:
    """The processor cores that this process may run on, which a container or ``taskset`` can make fewer than all."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
