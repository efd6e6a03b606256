"""Runs every benchmark of this folder and writes what they print to RESULTS.md beside it.

python benchmarks/all.py
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

HERE = Path(__file__).parent
PACKAGES = (
    *("placewise", "openvino", "onnxruntime", "pillow", "numpy", "torch", "fastembed"),
    *("faiss-cpu", "usearch", "lancedb"),
)


def machine() -> str:
    """The processor, its cores, and what it has for small numbers."""
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text(encoding="utf-8") if cpuinfo.exists() else ""
    model = re.search(r"model name\s*: (.*)", text)
    flags = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16") if flag in text]
    return f"{model[1] if model else platform.processor()}, {os.cpu_count()} cores, {' '.join(flags)}"


def versions() -> str:
    """Versions of what is measured and of what it is measured against."""
    found = [f"Python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"{package} not installed")
    return ", ".join(found)


def main() -> None:
    """Run them one after the other; each prints its own table."""
    parts = [
        "# Results of the benchmarks",
        "",
        "Written by `make bench`. Compare figures of one run only: machines differ, and their speed drifts.",
        "",
        f"- {datetime.now(UTC):%Y-%m-%d}",
        f"- {machine()}",
        f"- {versions()}",
    ]
    for script in sorted(HERE.glob("*.py")):
        if script.name != Path(__file__).name:
            print(f"benchmarks/{script.name} …", file=sys.stderr)
            done = subprocess.run([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, check=True)
            parts += ["", f"## {script.name}", "", "```", done.stdout.strip(), "```"]
    (HERE / "RESULTS.md").write_text("\n".join(parts) + "\n", encoding="utf-8")
    print(f"{HERE / 'RESULTS.md'}")


if __name__ == "__main__":
    main()
