"""What this process may use of the machine, and what it runs on."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version


def usable_cores() -> int:
    """The processor cores that this process may run on, which a container or ``taskset`` can make fewer than all."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def versions() -> dict[str, str]:
    """What a number may depend on beside the data and the model; what is not installed is left out."""
    told = {"Python": platform.python_version(), "platform": platform.platform(), "cores": str(usable_cores())}
    for package in ("placewise", "NumPy", "OpenVINO", "ONNX Runtime", "Pillow"):
        try:
            told[package] = version(package.lower().replace(" ", ""))
        except PackageNotFoundError:
            continue
    return told
