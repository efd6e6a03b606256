"""What this process may use of the machine, and what it runs on."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
from importlib.metadata import PackageNotFoundError, version


def usable_cores() -> int:
    """The processor cores that this process may run on, which a container or ``taskset`` can make fewer than all."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def give_memory_back() -> None:
    """Hand freed memory to the system: glibc keeps large pieces for each thread. Elsewhere nothing happens."""
    with contextlib.suppress(OSError, AttributeError, TypeError):  # no glibc, or no such function, or Windows
        ctypes.CDLL(None).malloc_trim(0)


def versions() -> dict[str, str]:
    """What a number may depend on beside the data and the model; what is not installed is left out."""
    told = {"Python": platform.python_version(), "platform": platform.platform(), "cores": str(usable_cores())}
    for package in ("placewise", "NumPy", "OpenVINO", "ONNX Runtime", "Pillow"):
        try:
            told[package] = version(package.lower().replace(" ", ""))
        except PackageNotFoundError:
            continue
    return told
