"""What this process may use of the machine."""

from __future__ import annotations

import contextlib
import ctypes
import os


def usable_cores() -> int:
    """The processor cores that this process may run on, which a container or ``taskset`` can make fewer than all."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def give_memory_back() -> None:
    """Hand freed memory to the system: glibc keeps large pieces for each thread. Elsewhere nothing happens."""
    with contextlib.suppress(OSError, AttributeError, TypeError):  # no glibc, or no such function, or Windows
        ctypes.CDLL(None).malloc_trim(0)
