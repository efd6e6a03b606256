"""How fast the doctor is: the search for near-duplicates among 1,000 to 100,000 photos, and a whole examination.

[PLACEWISE_PHOTOS=…] python benchmarks/doctor.py [--sizes 1000 10000 100000]

The search is measured on made-up outlines, mixtures of smooth pictures with some noise, of which one in twenty has a
copy; the examination on the real photos, if there are some. imagededup's search by perceptual hash is measured on the
same files if it is installed. Each size is a process of its own, so that its memory is its own.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from placewise.doctor import examine
from placewise.outlines import near_pairs
from placewise.sources import read_source

SETS = ("landmarks", "city-centre")


def pictures(count: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Outlines that share structures, as photos do; the last twentieth are copies of the first."""
    base = np.kron(rng.uniform(0, 255, (300, 8, 8)), np.ones((4, 4))).astype(np.float32)
    one, other = base[rng.integers(0, 300, count)], base[rng.integers(0, 300, count), ::-1]
    share = rng.uniform(0.3, 0.7, (count, 1, 1)).astype(np.float32)
    values = share * one + (1 - share) * other + rng.normal(0, 6, one.shape).astype(np.float32)
    copies = count // 20
    values[-copies:] = values[:copies] * 0.95 + rng.normal(0, 3, (copies, 32, 32))
    clipped: NDArray[np.uint8] = np.clip(values, 0, 255).astype(np.uint8)
    return clipped


def search(count: int) -> None:
    """One size: the time, the memory, and the share of copies that were found."""
    rng = np.random.default_rng(0)
    values = pictures(count, rng)
    in_gallery = rng.random(count) < 0.5
    start = time.perf_counter()
    pairs = near_pairs(values, np.arange(count), in_gallery, threshold=0.8)
    seconds = time.perf_counter() - start
    copies = count // 20
    found = sum(other - one == count - copies for one, other in pairs.tolist())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"{count:7,}  {seconds:8.1f}  {count / seconds:10,.0f}  {found / copies:12.3f}  {peak:8,}")


def examination(folder: Path) -> None:
    """A whole set: photos a second of the doctor, and of imagededup's hashes and their search."""
    source = read_source(folder)
    start = time.perf_counter()
    found = examine(source)
    seconds = time.perf_counter() - start
    print(f"{folder.name}: {found.records} photos, {found.records / seconds:.0f} a second", end="")
    if importlib.util.find_spec("imagededup"):
        from imagededup.methods import PHash

        start = time.perf_counter()
        PHash(verbose=False).find_duplicates(image_dir=str(folder), recursive=True)
        print(f"; imagededup {found.records / (time.perf_counter() - start):.0f} a second")
    else:
        print("; imagededup is not installed")


def main() -> None:
    """Measure each size in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        search(options.one)
        return
    print("outlines   seconds  a second  copies found   peak MB", flush=True)
    for size in options.sizes:
        subprocess.run([sys.executable, __file__, "--one", str(size)], check=True)
    root = os.environ.get("PLACEWISE_PHOTOS")
    for name in SETS if root else ():
        examination(Path(root or "") / name)


if __name__ == "__main__":
    main()
